"""The state directory of `make run`: who uses it, and what was decided once and is kept."""

import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from common import clock
from devstack import datadir, ports
from devstack.errors import DevstackError
from devstack.season import Season, Wish


class State:
    """The files in one state directory; take the lock before anything else."""

    def __init__(self, path: Path) -> None:
        self.path = datadir.prepare(path)
        self.pid_file = self.path / "pids.json"
        self.logs = self.path / "log"
        self._lock: int | None = None

    def take(self, port: int | None) -> None:
        """Become the one run that uses this directory; raise one line that names the other and its port."""
        try:
            self._lock = datadir.lock(self.path / "run.lock")
        except datadir.HeldError as error:
            pid, _, rest = error.signature.partition(" ")
            where = f" on port {rest}" if rest else ""
            raise DevstackError(
                f"Paddock already runs from {self.path}: pid {pid or 'unknown'}{where}; use it, or stop it first"
            ) from error
        datadir.sign(self._lock, f"{os.getpid()} {port or ''}".strip())

    def release(self) -> None:
        """Let another run use the directory."""
        if self._lock is not None:
            datadir.sign(self._lock, "")
            os.close(self._lock)
            self._lock = None

    def ports(self, names: Iterable[str]) -> dict[str, int]:
        """A port for each name: the one of the last run where it is still free, else a new one."""
        kept = self._read("ports.json")
        chosen = {}
        for name in names:
            port = kept.get(name)
            chosen[name] = port if isinstance(port, int) and ports.is_free(port) else ports.free_port()
        self._write("ports.json", kept | chosen)
        return chosen

    def secret(self, name: str) -> str:
        """A secret that was drawn once and stays."""
        kept = self._read("secrets.json")
        if name not in kept:
            kept[name] = secrets.token_urlsafe(24)
            self._write("secrets.json", kept)
        return str(kept[name])

    def season(self, wish: Wish) -> Season:
        """The season this directory holds; a new directory holds what is wished.

        Raises one line when a wish differs from what is kept: teams and results of one season make no sense in another.
        """
        kept = self._read("season.json")
        if not kept:
            season = wish.season(clock.now())
            self._write("season.json", asdict(season) | {"start": season.start.isoformat()})
            return season
        try:
            held = Season(**(kept | {"start": datetime.fromisoformat(kept["start"]).astimezone(UTC)}))
        except (TypeError, KeyError, ValueError) as error:
            raise DevstackError(f"{self.path / 'season.json'} is of another version; run `make clean`") from error
        for name, value in wish.explicit().items():
            if getattr(held, name) != value:
                raise DevstackError(
                    f"{self.path} holds a season with {name} {getattr(held, name)}, not {value}; "
                    "run `make clean` first, or choose another state directory"
                )
        return held

    def _read(self, name: str) -> dict:  # type: ignore[type-arg]
        try:
            content = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise DevstackError(f"{self.path / name} cannot be read ({error}); run `make clean`") from error
        return content if isinstance(content, dict) else {}

    def _write(self, name: str, content: object) -> None:
        staging = self.path / f"{name}.new"
        staging.touch(mode=0o600)
        staging.write_text(json.dumps(content, indent=2) + "\n")
        staging.replace(self.path / name)
