"""The database: one engine per process, one transaction per request or message, limits on every session."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import asyncpg
from sqlalchemy import MetaData, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolProxiedConnection

from common import telemetry
from common.settings import Settings

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names of constraints, so that code can tell which one was violated and migrations can drop them."""

SESSION_LIMITS = {
    "statement_timeout": "5000",
    "lock_timeout": "2000",
    "idle_in_transaction_session_timeout": "10000",
    "timezone": "UTC",
    "jit": "off",
}
"""In milliseconds; every pooled connection has them."""

CONNECT_SECONDS = 3
POOL_WAIT_SECONDS = 2


def service_metadata() -> MetaData:
    """Return metadata with the house's constraint names. Tables carry no schema: the role's search path does."""
    return MetaData(naming_convention=NAMING)


class MeasuredPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool; the time until it gives a connection is a metric."""

    def connect(self) -> PoolProxiedConnection:
        """Check a connection out."""
        with telemetry.POOL_WAIT.time():
            return super().connect()


class Database:
    """The connection pool of a process."""

    def __init__(self, settings: Settings, service: str) -> None:
        self.dsn = settings.database_url
        self.schema = service
        self.engine = create_async_engine(
            make_url(self.dsn).set(drivername="postgresql+asyncpg"),
            poolclass=MeasuredPool,
            pool_size=settings.database_pool_size,
            max_overflow=0,
            pool_timeout=POOL_WAIT_SECONDS,
            pool_pre_ping=True,
            hide_parameters=True,  # an error's text is logged, and the values of a statement may be a person's
            connect_args={
                "timeout": CONNECT_SECONDS,
                "server_settings": SESSION_LIMITS | {"search_path": service, "application_name": service},
            },
        )
        telemetry.POOL_IN_USE.set_function(lambda: cast("MeasuredPool", self.engine.pool).checkedout())
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a session that commits at the end of the block and rolls back on any error."""
        async with self._sessions() as session, session.begin():
            yield session

    async def connect_raw(self, role: str, **limits: str) -> asyncpg.Connection:
        """Open a connection outside the pool, for LISTEN and for session-level advisory locks.

        The server names it after the service and its ``role``, and drops it, locks and all, some 4 s after the machine
        at this end has vanished. ``limits`` are further parameters of the session.
        """
        keepalive = {"tcp_keepalives_idle": "2", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "2"}
        return await asyncpg.connect(
            self.dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=30,
            server_settings={"search_path": self.schema, "application_name": f"{self.schema}-{role}"}
            | keepalive
            | limits,
        )

    async def ping(self) -> None:
        """Raise when the database does not answer."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()


def violated_constraint(error: IntegrityError) -> str | None:
    """Name the constraint that an insert or update ran into."""
    cause = getattr(error.orig, "__cause__", None)
    name = getattr(cause, "constraint_name", None)
    return str(name) if name else None


def is_outage(error: BaseException) -> bool:
    """Tell whether an error means that the database is away, busy or starting, so that trying again helps."""
    if isinstance(error, OSError | PoolTimeoutError | asyncpg.PostgresConnectionError | InterfaceError):
        return True
    if isinstance(error, DBAPIError):
        return (
            error.connection_invalidated
            or isinstance(error, OperationalError)
            or _sqlstate(error)[:2]
            in {
                "08",  # connection exceptions
                "40",  # serialisation failures and deadlocks
                "53",  # out of resources
                "55",  # a lock was not available in time
                "57",  # cancelled, shutting down, starting up
            }
        )
    return isinstance(error, asyncpg.CannotConnectNowError | asyncpg.TooManyConnectionsError)


def is_bad_value(error: BaseException) -> bool:
    """Tell whether PostgreSQL refused a value itself: out of range, or a character it cannot store."""
    return isinstance(error, DBAPIError) and _sqlstate(error).startswith("22")


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")
