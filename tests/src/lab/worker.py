"""One process of the bus: consumers, relay or both, with or without HTTP, as ``LAB_WORK`` says.

`python -m lab.worker`. Times of the bus that take minutes are set to less, and faults are put in, by name: the product
has no switch for either.
"""

import asyncio
import contextlib
import importlib
import os
import signal
from collections.abc import Coroutine
from typing import Any, ClassVar

import msgspec

from common import telemetry
from common.app import serve, service_app
from common.consumers import Consumers
from common.db import Database
from common.log import setup_logging
from common.messaging import Bus
from common.relay import Relay
from common.settings import Environment, LogFormat, Settings
from lab.events import SERVICE
from lab.routes import ROUTES, watch_loop


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to do."""

    database_url: str
    nats_url: str
    handlers: str | None = None
    """``module:function`` that gives the consumers when called with ``options``."""
    options: dict[str, Any] = {}
    relay: bool = False
    port: int | None = None
    """Serve HTTP as a service does; such a process always relays."""
    patches: dict[str, Any] = {}
    """New values of names such as ``common.consumers.ACK_WAIT_SECONDS``."""
    faults: list[str] = []
    """``module:function`` to call before anything starts."""
    environ: dict[str, str] = {}
    service: str = SERVICE

    variable: ClassVar[str] = "LAB_WORK"

    def settings(self) -> Settings:
        """The settings of the process."""
        return Settings(
            paddock_env=Environment.TEST,
            database_url=self.database_url,
            nats_url=self.nats_url,
            log_format=LogFormat.JSON,
            port=self.port or 0,
        )


def resolve(path: str) -> Any:
    """Give what ``module:name`` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def patch(name: str, value: Any) -> None:
    """Set a module's constant; a list becomes the tuple it stands for."""
    module, _, attribute = name.rpartition(".")
    owner = importlib.import_module(module)
    assert hasattr(owner, attribute), f"{name} is no longer there"
    setattr(owner, attribute, tuple(value) if isinstance(value, list) else value)


async def until_stopped(work: Work, consumers: Consumers | None) -> None:
    """Run without HTTP until SIGTERM."""
    settings = work.settings()
    database = Database(settings, work.service)
    running: list[Coroutine[Any, Any, None]] = []
    bus = Bus(consumers, database, settings) if consumers else None
    if bus is not None:
        running.append(bus.run())
    if work.relay:
        running.append(Relay(database, settings).run())
    tasks = [asyncio.create_task(each) for each in running]
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    if bus is not None and stopped.is_set():
        await bus.drain()
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
    with contextlib.suppress(OSError):
        await database.close()


def main() -> None:
    """Do the work until killed or stopped."""
    work = msgspec.json.decode(os.environ[Work.variable], type=Work)
    os.environ.update(work.environ)
    for name, value in work.patches.items():
        patch(name, value)
    for fault in work.faults:
        resolve(fault)()
    consumers = resolve(work.handlers)(**work.options) if work.handlers else None
    settings = work.settings()
    if work.port is None:
        setup_logging("lab", settings)
        telemetry.setup_tracing("lab", settings)
        asyncio.run(until_stopped(work, consumers))
        return

    def create_app(settings: Settings) -> Any:
        return service_app(
            work.service,
            settings,
            title="Laboratory",
            route_handlers=ROUTES,
            consumers=consumers,
            background=[watch_loop],
        )

    serve(work.service, create_app, settings)


if __name__ == "__main__":
    main()
