"""The whole of Paddock as one object: what `make run` runs, and what the end-to-end tests start, kill and restart."""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Self

from common import clock
from devstack import plan, ports
from devstack.embedded import Embedded
from devstack.errors import DevstackError
from devstack.nats import NatsServer
from devstack.plan import Addresses, Plan
from devstack.postgres import PostgresServer
from devstack.preload import Nursery
from devstack.program import Child, Program
from devstack.season import Season, Source, Wish
from devstack.state import State
from devstack.valkey import ValkeyServer
from devstack.watch import Watch, clean_up
from paddock.nats_authority import Authority

PREPARE_SECONDS = 120.0
READY_SECONDS = 60.0
POLL_SECONDS = 0.05

Planner = Callable[[Addresses, Season, Mapping[str, str]], Plan]


class CancelledError(DevstackError):
    """The start was called off."""


class Stack:
    """Servers, simulator, services and gateway on one state directory; a context manager that starts and stops."""

    def __init__(  # noqa: PLR0913 - each is one decision about a run
        self,
        state: Path,
        *,
        source: Source | None = None,
        pace: float | None = None,
        seed: int | None = None,
        start: datetime | None = None,
        recorded: Path | None = None,
        season: int | None = None,
        rounds: str | None = None,
        port: int | None = None,
        durable: bool = True,
        preload: bool = True,
        environ: Mapping[str, str] | None = None,
        report: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
        step: Callable[[str], None] = lambda _: None,
        planner: Planner = plan.paddock,
    ) -> None:
        """Decide what to run; nothing starts.

        What is None is as the state directory has it, else as the default says. ``pace`` is seconds per race weekend,
        ``rounds`` the only ones to run, as ``1-3``, ``port`` the gateway's (None: any free one). ``environ`` may name
        servers to use instead of embedded ones: ``DATABASE_URL`` (an administrator's), ``NATS_URL`` (and with
        ``NATS_CREDS_DIR`` its credentials files, ``USER.creds``), ``REDIS_URL``.
        ``durable=False`` spares the disk, ``preload=False`` imports what services share once for each of them.
        ``report`` hears of deaths, ``step`` of the progress of a start.
        """
        self._wish = Wish(
            source=source, year=season, seed=seed, pace=pace, start=start, recorded=recorded, rounds=rounds
        )
        self._port = port
        self._durable = durable
        self._preload = preload and Nursery.possible()
        self._nursery: Nursery | None = None
        self._environ = dict(environ or {})
        self._report = report
        self._step = step
        self._planner = planner
        self._cancelled = threading.Event()
        self._addresses: Addresses | None = None
        self.state = State(state)
        self._authority = Authority(self.state.path / "nats-auth")
        self.season = self._wish.season(clock.now())
        self.servers: dict[str, Embedded] = {}
        self.programs: dict[str, Program] = {}
        self.watch = Watch(self.state.pid_file, report)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it is ready; when something fails, stop what runs and raise one line."""
        self.state.take(self._port)
        try:
            for name in clean_up(self.state.pid_file):
                self._report(f"{name} was left from an earlier run and has been ended")
            if self._port is not None:
                ports.require_free(self._port, "the gateway", "stop it, or run with PORT=another")
            self.season = self.state.season(self._wish)
            self._step("starting PostgreSQL, NATS and Valkey")
            self._start_nursery()
            self._addresses = self._start_servers()
            planned = self._planner(self._addresses, self.season, self._inherited())
            self._start_programs([planned.early])
            self._step("migrating")
            self._run_once([child for child in (planned.credentials, planned.prepare) if child is not None])
            self._step("starting the services")
            self._start_programs(planned.tiers)
            self._await_ready(self.programs)
        except BaseException:
            self.stop()
            raise

    def _inherited(self) -> dict[str, str]:
        return {**os.environ, **self._environ}

    def _start_nursery(self) -> None:
        if self._preload:
            self._nursery = Nursery(self.state.logs / "nursery.log", self._inherited())
            self._nursery.start()
            self.watch.add([self._nursery])

    def _start_servers(self) -> Addresses:
        """Start the servers that were not given, all at once."""
        wanted = {"postgres": "DATABASE_URL", "nats": "NATS_URL", "valkey": "REDIS_URL"}
        missing = [name for name, variable in wanted.items() if not self._environ.get(variable)]
        chosen = self.state.ports([*missing, *(["nats-monitor"] if "nats" in missing else []), *self._child_names()])
        chosen["gateway"] = self._port or chosen["gateway"]
        if "nats" in missing:
            self._authority.prepare()
        self.servers = {name: self._server(name, chosen) for name in missing}
        with ThreadPoolExecutor(len(wanted)) as pool:
            started = [pool.submit(server.revive) for server in self.servers.values()]
        failures = [failure for outcome in started if (failure := outcome.exception())]
        if failures:
            for server in self.servers.values():
                server.stop()
            raise failures[0]
        self.watch.add(list(self.servers.values()))
        urls = {name: self.servers[name].url if name in missing else self._environ[wanted[name]] for name in wanted}
        return Addresses(
            ports=chosen,
            database_url=urls["postgres"],
            nats_url=urls["nats"],
            redis_url=urls["valkey"],
            home=self.state.path,
            passwords={name: self.state.secret(f"database-{name}") for name in plan.SERVICES},
            nats_keys=self._authority.folder if "nats" in missing else None,
            nats_credentials=self._credentials_folder(embedded="nats" in missing),
        )

    def _credentials_folder(self, *, embedded: bool) -> Path | None:
        if embedded:
            return self._authority.folder / "creds"
        given = self._environ.get("NATS_CREDS_DIR")
        return Path(given).resolve() if given else None

    def _child_names(self) -> tuple[str, ...]:
        return (*plan.child_names(self.season), "gateway")

    def _server(self, name: str, chosen: Mapping[str, int]) -> Embedded:
        data, log, port = self.state.path / name, self.state.logs / f"{name}.log", chosen[name]
        if name == "postgres":
            return PostgresServer(data, port=port, log=log, durable=self._durable)
        if name == "nats":
            monitor = chosen["nats-monitor"]
            conf = self._authority.conf
            return NatsServer(data, port=port, log=log, durable=self._durable, monitor_port=monitor, include=conf)
        return ValkeyServer(data, port=port, log=log)

    def _start_programs(self, tiers: Sequence[Sequence[Child]]) -> None:
        self._checkpoint()
        for tier in tiers:
            programs = [Program(child, self.state.logs / f"{child.name}.log", self._nursery) for child in tier]
            for program in programs:
                ports.require_free(int(program.address.rpartition(":")[2]), program.name)
            try:
                for program in programs:
                    program.start()
            finally:
                self.programs |= {program.name: program for program in programs}
                self.watch.add(programs)

    def _run_once(self, children: Sequence[Child]) -> None:
        """Run children to their ends, all at once; raise the last line of one that fails."""
        programs = [Program(child, self.state.logs / f"{child.name}.log", self._nursery) for child in children]
        deadline = time.monotonic() + PREPARE_SECONDS
        try:
            for program in programs:
                program.start()
            while running := [program for program in programs if program.running]:
                self._checkpoint()
                if time.monotonic() > deadline:
                    late = running[0]
                    raise DevstackError(f"{late.name} did not end within {PREPARE_SECONDS:.0f} s; see {late.log}")
                time.sleep(POLL_SECONDS)
            for program in programs:
                if program.returncode:
                    raise DevstackError(f"{program.name} failed: {program.last_error()}; log {program.log}")
        finally:
            for program in programs:
                program.kill()

    def _await_ready(self, programs: Mapping[str, Program]) -> None:
        waiting = dict(programs)
        deadline = time.monotonic() + READY_SECONDS
        while waiting:
            self._checkpoint()
            waiting = {name: program for name, program in waiting.items() if not program.ready()}
            if waiting and time.monotonic() > deadline:
                name, program = next(iter(waiting.items()))
                raise DevstackError(
                    f"{name} is not ready after {READY_SECONDS:.0f} s: {program.last_error()}; log {program.log}"
                )
            time.sleep(POLL_SECONDS if waiting else 0)

    def _checkpoint(self) -> None:
        if self._cancelled.is_set():
            raise CancelledError("stopped while starting")
        if self.watch.failure:
            raise DevstackError(self.watch.failure)

    def cancel(self) -> None:
        """Call off a `start` that is under way, from a signal handler or another thread."""
        self._cancelled.set()

    def stop(self) -> None:
        """End everything in reverse order; idempotent."""
        if self.watch.busy:
            self._step("stopping")
        self.watch.stop()
        self.state.release()

    def kill(self, name: str) -> None:
        """SIGKILL a server or program with all its processes; it stays dead until `start_again`."""
        self.watch.kill(name)

    def start_again(self, name: str) -> None:
        """Start what `kill` ended, on the same port and data, and wait until it is ready."""
        self.watch.start_again(name)
        if name in self.programs:
            self._await_ready({name: self.programs[name]})

    @property
    def addresses(self) -> Addresses:
        """Where everything listens; raises before `start`."""
        if self._addresses is None:
            raise DevstackError("the stack has not been started")
        return self._addresses

    @property
    def urls(self) -> dict[str, str]:
        """Base URL of each program by name."""
        return {name: program.address for name, program in self.programs.items()}

    @property
    def gateway_url(self) -> str:
        """Where clients connect."""
        return self.urls["gateway"]

    @property
    def mailbox_url(self) -> str:
        """Where the letters of `auth` can be read."""
        return self.urls[plan.MAILBOX]

    @property
    def trackside_url(self) -> str:
        """The simulator; raises for a live season."""
        if "trackside" not in self.programs:
            raise DevstackError("a live season has no simulator")
        return self.urls["trackside"]

    @property
    def database_url(self) -> str:
        """PostgreSQL, for its administrator."""
        return self.addresses.database_url

    @property
    def nats_url(self) -> str:
        """NATS."""
        return self.addresses.nats_url

    def nats_creds(self, user: str = "paddock") -> str | None:
        """The credentials file of a NATS user, the operator's if none is named; None where NATS lets everybody in."""
        return self.addresses.credentials_of(user).get("NATS_CREDS_FILE")

    @property
    def redis_url(self) -> str:
        """Valkey."""
        return self.addresses.redis_url
