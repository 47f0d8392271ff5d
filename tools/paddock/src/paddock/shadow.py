"""A schema beside a service's own in which its handlers can work without anybody seeing it.

It has every table of the service, made from its models, and nothing else is on the search path: a handler cannot reach
a real table, or the real outbox, but through the views of the tables that are declared as shared.

In the end the contents of the rebuilt tables become those of the real ones, in one transaction: rows that are too many
are deleted, rows that differ are updated, rows that are missing are inserted. Tables are not exchanged, for every
exchange of tables shows to somebody: it takes locks that stop readers, a reader whose snapshot is older than the
exchange finds the new table half empty, foreign keys from tables that stay have to be dropped and checked again, and
grants, identities and statistics do not come along. To readers this swap is a commit like any other.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import Table, UniqueConstraint, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from common import migrate
from paddock.projections import Projection

LIMITS = {
    "statement_timeout": "600000",
    "lock_timeout": "10000",
    "idle_in_transaction_session_timeout": "60000",
    "timezone": "UTC",
    "jit": "off",
}
"""In milliseconds."""

CONNECT_SECONDS = 10
PROGRESS = "rebuild_progress"
WAITING = "rebuild_waiting"


class Shadow:
    """The schema beside the service's own, worked in with the service's role."""

    def __init__(self, projection: Projection, admin_url: str) -> None:
        self.projection = projection
        self.live = projection.service
        self.schema = f"{projection.service}_rebuild"
        self._role = migrate.role_of(projection.service)
        url = make_url(admin_url).set(drivername="postgresql+asyncpg")
        self._admin = create_async_engine(url, pool_size=1, max_overflow=0, connect_args={"timeout": CONNECT_SECONDS})
        settings = LIMITS | {"role": self._role, "search_path": self.schema, "application_name": self.schema}
        self._engine = create_async_engine(
            url,
            pool_size=1,
            max_overflow=0,
            connect_args={"timeout": CONNECT_SECONDS, "server_settings": settings},
        )
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a session that sees the shadow's tables; it commits at the end of the block."""
        async with self._sessions() as session, session.begin():
            yield session

    async def exists(self) -> bool:
        """Tell whether a rebuild of the service has begun."""
        async with self.transaction() as session:
            return bool(await session.scalar(text(f"SELECT to_regclass('{self.schema}.{PROGRESS}') IS NOT NULL")))

    async def make(self) -> None:
        """Make the schema anew: empty tables, views of those that are shared, copies of those that are copied."""
        async with self._admin.begin() as admin:
            await admin.execute(text(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE"))
            await admin.execute(text(f"CREATE SCHEMA {self.schema} AUTHORIZATION {self._role}"))
        projection = self.projection
        tables = [table for table in projection.metadata.sorted_tables if table.name not in projection.shared]
        async with self.transaction() as session:
            connection = await session.connection()
            await connection.run_sync(projection.metadata.create_all, tables=tables, checkfirst=False)
            for name in projection.shared:
                await session.execute(text(f"CREATE VIEW {name} AS TABLE {self.live}.{name}"))
            for name in projection.copied:
                names = ", ".join(projection.metadata.tables[name].c.keys())
                copy = f"INSERT INTO {name} ({names}) SELECT {names} FROM {self.live}.{name}"  # noqa: S608 - our own
                await session.execute(text(copy))
            await session.execute(text(f"CREATE TABLE {PROGRESS} (projection text, sequence bigint, stream text)"))
            waiting = "consumer text, sequence bigint, event_id uuid, PRIMARY KEY (consumer, event_id)"
            await session.execute(text(f"CREATE TABLE {WAITING} ({waiting})"))

    async def drop(self, session: AsyncSession) -> None:
        """Remove the schema."""
        await session.execute(text(f"DROP SCHEMA {self.schema} CASCADE"))

    def rebuilt(self) -> list[Table]:
        """Return the tables that take the place of the real ones, those that others refer to first."""
        return [table for table in self.projection.metadata.sorted_tables if table.name in self.projection.tables]

    async def analyze(self) -> None:
        """Tell the planner what the tables hold by now."""
        async with self.transaction() as session:
            for table in self.rebuilt():
                await session.execute(text(f"ANALYZE {table.name}"))

    async def shut_out_writers(self, session: AsyncSession, milliseconds: int) -> None:
        """Lock the real tables against writing; readers go on.

        The inbox comes first: once it is ours, no handler of the service is halfway. Who waits here for longer than
        ``milliseconds`` is us, so that nobody else becomes the victim of a deadlock.
        """
        await session.execute(text(f"SET LOCAL lock_timeout = {milliseconds}"))
        for name in ("inbox", *(table.name for table in self.rebuilt())):
            await session.execute(text(f"LOCK TABLE {self.live}.{name} IN SHARE ROW EXCLUSIVE MODE"))

    async def swap(self, session: AsyncSession, *, keep_older: bool) -> list[str]:
        """Make the real tables hold what the shadow's hold; return a line for each that changed.

        With ``keep_older`` rows stay that the shadow knows nothing of.
        """
        tables = self.rebuilt()
        removed, changed, added = (dict.fromkeys((table.name for table in tables), 0) for _ in range(3))
        for table in reversed(tables):
            for statement in delete_statements(table, self.live, keep_older=keep_older):
                removed[table.name] += await _count(session, statement)
        for table in tables:
            if update := update_statement(table, self.live):
                changed[table.name] = await _count(session, update)
            added[table.name] = await _count(session, insert_statement(table, self.live))
        return [
            f"{name}: {removed[name]:,} rows removed, {changed[name]:,} changed, {added[name]:,} added"
            for name in removed
            if removed[name] or changed[name] or added[name]
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()
        await self._admin.dispose()


async def _count(session: AsyncSession, statement: str) -> int:
    result = await session.execute(text(statement))
    return int(result.rowcount)  # type: ignore[attr-defined] # of a statement that writes


def _same(names: list[str]) -> str:
    return " AND ".join(f"live.{name} = built.{name}" for name in names)


def _row(alias: str, names: list[str]) -> str:
    return f"({', '.join(f'{alias}.{name}' for name in names)})"


def _keys(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return the columns of the primary key, and of everything else that must be unique."""
    primary = [column.name for column in table.primary_key]
    unique = [list(one.columns) for one in table.constraints if isinstance(one, UniqueConstraint)]
    unique += [list(one.columns) for one in table.indexes if one.unique]
    return primary, sorted([column.name for column in columns] for columns in unique)


def delete_statements(table: Table, live: str, *, keep_older: bool) -> list[str]:
    """Delete rows that are too many, and those in the way of another row's unique columns."""
    primary, unique = _keys(table)
    built = f"SELECT FROM {table.name} AS built WHERE"
    wrong = [] if keep_older else [f"NOT EXISTS ({built} {_same(primary)})"]
    for names in unique:
        moved = f"{_same(primary)} AND {_row('live', names)} IS DISTINCT FROM {_row('built', names)}"
        taken = f"{_same(names)} AND {_row('live', primary)} IS DISTINCT FROM {_row('built', primary)}"
        wrong += [f"EXISTS ({built} {moved})", f"EXISTS ({built} {taken})"]
    return [f"DELETE FROM {live}.{table.name} AS live WHERE {condition}" for condition in wrong]  # noqa: S608


def update_statement(table: Table, live: str) -> str | None:
    """Change rows that differ."""
    primary, _ = _keys(table)
    others = [column.name for column in table.columns if column.name not in primary]
    if not others:
        return None
    return (
        f"UPDATE {live}.{table.name} AS live SET {', '.join(f'{name} = built.{name}' for name in others)} "  # noqa: S608
        f"FROM {table.name} AS built WHERE {_same(primary)} "
        f"AND {_row('live', others)} IS DISTINCT FROM {_row('built', others)}"
    )


def insert_statement(table: Table, live: str) -> str:
    """Add rows that are missing."""
    primary, _ = _keys(table)
    names = ", ".join(column.name for column in table.columns)
    return (
        f"INSERT INTO {live}.{table.name} ({names}) SELECT {names} FROM {table.name} AS built "  # noqa: S608
        f"WHERE NOT EXISTS (SELECT FROM {live}.{table.name} AS live WHERE {_same(primary)})"
    )
