"""The audit log: only ever added to, in one chain, with what it tells."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from sqlalchemy import func, select, text

from auth import audit
from auth.audit import ANONYMOUS, Actor, record
from auth.models import AuditEntry
from auth.origin import Origin
from auth.settings import AuthSettings
from common import clock, migrate
from common.db import Database
from devstack.testing import Servers

ORIGIN = Origin(address="192.0.2.7", user_agent="test", request_id="request-of-the-test")
ROLE = migrate.role_of("auth")


@pytest.fixture
async def own(fresh_settings: AuthSettings) -> AsyncIterator[Database]:
    """A log of one test's own."""
    database = Database(fresh_settings, "auth")
    yield database
    await database.close()


@pytest.fixture
async def guarded(fresh_settings: AuthSettings, prepared: Servers) -> tuple[str, str]:
    """Give administrator and role URLs of a database with roles and schema as `paddock migrate` makes them."""
    admin_url = fresh_settings.database_url
    connection = await asyncpg.connect(admin_url)
    await connection.execute("DROP SCHEMA auth CASCADE")
    await connection.close()
    await migrate.bootstrap(admin_url, {"auth": "paddock-test"})
    await migrate.upgrade("auth", admin_url)
    name = admin_url.rsplit("/", 1)[1]
    return admin_url, prepared.database_url_of("auth").rsplit("/", 1)[0] + f"/{name}"


async def add(database: Database, action: str = "test.act", **facts: object) -> None:
    async with database.transaction() as session:
        await record(session, action, actor=ANONYMOUS, origin=ORIGIN, after=facts)


INSERT = (
    "INSERT INTO audit (at, actor_kind, action, previous_hash, hash) VALUES (now(), 'system', 'x', '\\x00', '\\x01')"
)
CHANGES = {
    "update": "UPDATE audit SET action = 'y'",
    "update of nothing": "UPDATE audit SET action = 'y' WHERE false",
    "upsert": INSERT + " ON CONFLICT (hash) DO UPDATE SET action = 'y'",
    "delete": "DELETE FROM audit",
    "truncate": "TRUNCATE audit",
    "truncate with others": "TRUNCATE audit, users CASCADE",
    "drop": "DROP TABLE audit",
    "drop the schema": "DROP SCHEMA auth CASCADE",
    "rename": "ALTER TABLE audit RENAME TO gone",
    "take": f"ALTER TABLE audit OWNER TO {ROLE}",
    "switch off the trigger": "ALTER TABLE audit DISABLE TRIGGER ALL",
    "drop the trigger": "DROP TRIGGER append_only ON audit",
    "drop the function": "DROP FUNCTION refuse_change() CASCADE",
    "replace the function": "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql"
    " AS $$ BEGIN RETURN NULL; END $$",
    "a trigger of its own": "CREATE TRIGGER mine BEFORE INSERT ON audit EXECUTE FUNCTION refuse_change()",
    "replica": "SET session_replication_role = replica",
}


@pytest.mark.parametrize("name", CHANGES)
async def test_the_services_role_may_add_and_read_and_nothing_else(guarded: tuple[str, str], name: str) -> None:
    connection = await asyncpg.connect(guarded[1])
    await connection.execute(INSERT)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(CHANGES[name])
    assert await connection.fetchval("SELECT action FROM audit") == "x"
    await connection.close()


@pytest.mark.parametrize("name", ["update", "update of nothing", "upsert", "delete", "truncate"])
async def test_the_trigger_refuses_even_the_administrator(guarded: tuple[str, str], name: str) -> None:
    connection = await asyncpg.connect(guarded[0], server_settings={"search_path": "auth"})
    await connection.execute(INSERT)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only ever added to"):
        await connection.execute(CHANGES[name])
    await connection.close()


async def test_the_suites_own_schema_is_guarded_as_well(settings: AuthSettings) -> None:
    connection = await asyncpg.connect(settings.database_url)
    for statement in ("UPDATE audit SET action = 'y'", "DELETE FROM audit", "TRUNCATE audit", "DROP TABLE audit"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_the_administrator_takes_the_log_over_as_often_as_the_migration_runs(guarded: tuple[str, str]) -> None:
    admin_url, role_url = guarded
    admin = await asyncpg.connect(admin_url)
    owners = "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'auth'"
    me = await admin.fetchval("SELECT current_user")
    for _ in range(2):
        owned = {row["tablename"]: row["tableowner"] for row in await admin.fetch(owners)}
        assert owned.pop("audit") == me
        assert set(owned.values()) == {ROLE}
        await migrate.bootstrap(admin_url, {"auth": "paddock-test"})
        await migrate.upgrade("auth", admin_url)
    await migrate.check("auth", admin_url)
    await migrate.check("auth", role_url)
    await migrate.upgrade("auth", role_url)
    with pytest.raises(Exception, match="must be owner of"):
        await migrate.downgrade("auth", role_url)
    await migrate.downgrade("auth", admin_url)
    assert [row["tablename"] for row in await admin.fetch(owners)] == ["alembic_version"]
    await migrate.upgrade("auth", admin_url)
    assert {row["tablename"]: row["tableowner"] for row in await admin.fetch(owners)}["audit"] == me
    await admin.close()


async def test_an_entry_tells_who_what_whom_and_from_where(own: Database) -> None:
    user, target = uuid4(), uuid4()
    before = clock.now()
    async with own.transaction() as session:
        await record(
            session,
            "user.rename",
            actor=Actor.admin(user),
            origin=ORIGIN,
            target=target,
            before={"username": "old", "seen": before},
            after={"username": "new", "ids": [target], "flag": True, "count": 3, "nothing": None},
        )
    async with own.transaction() as session:
        entry = (await session.scalars(select(AuditEntry))).one()
    assert (entry.actor_kind, entry.actor_id, entry.action, entry.target_id) == ("admin", user, "user.rename", target)
    assert (entry.address, entry.request_id) == ("192.0.2.7", "request-of-the-test")
    assert entry.before == {"username": "old", "seen": before.isoformat().replace("+00:00", "Z")}
    assert entry.after == {"username": "new", "ids": [str(target)], "flag": True, "count": 3, "nothing": None}
    assert before <= entry.at <= clock.now()
    assert entry.previous_hash == audit.GENESIS
    assert entry.hash == audit.hash_of(entry)
    assert (await audit.verify(own)).fault is None


async def test_a_hundred_writers_at_once_make_one_chain(own: Database) -> None:
    await asyncio.gather(*(add(own, number=number) for number in range(100)))
    async with own.transaction() as session:
        rows = (await session.scalars(select(AuditEntry).order_by(AuditEntry.id))).all()
    assert len(rows) == 100
    assert [row.previous_hash for row in rows] == [audit.GENESIS, *(row.hash for row in rows[:-1])]
    verdict = await audit.verify(own)
    assert (verdict.entries, verdict.broken_id, verdict.head_hash) == (100, None, rows[-1].hash.hex())


async def test_an_entry_shares_the_fate_of_its_transaction(own: Database) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with own.transaction() as session:
            await record(session, "test.undone", actor=ANONYMOUS, origin=ORIGIN)
            raise ZeroDivisionError
    async with own.transaction() as session:
        await record(session, "test.first", actor=ANONYMOUS, origin=ORIGIN)
        with contextlib.suppress(ZeroDivisionError):
            async with session.begin_nested():
                await record(session, "test.undone", actor=ANONYMOUS, origin=ORIGIN)
                async with session.begin_nested():
                    await record(session, "test.undone", actor=ANONYMOUS, origin=ORIGIN)
                raise ZeroDivisionError
        async with session.begin_nested():
            await record(session, "test.second", actor=ANONYMOUS, origin=ORIGIN)
        await record(session, "test.third", actor=ANONYMOUS, origin=ORIGIN)
    async with own.transaction() as session:
        actions = (await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id))).all()
    assert actions == ["test.first", "test.second", "test.third"]
    assert (await audit.verify(own)).entries == 3


async def test_what_is_recorded_early_holds_nobody_up(own: Database) -> None:
    """Two that record first and lock each other's rows afterwards would otherwise wait for each other."""
    met = asyncio.Barrier(2)

    async def act(first: int) -> None:
        async with own.transaction() as session:
            await record(session, "test.act", actor=ANONYMOUS, origin=ORIGIN)
            await session.execute(select(func.pg_advisory_xact_lock(first)))
            await met.wait()

    async with asyncio.timeout(10):
        await asyncio.gather(act(1), act(2))
    assert (await audit.verify(own)).entries == 2


async def test_a_number_that_json_writes_in_several_ways_is_refused(own: Database) -> None:
    with pytest.raises(TypeError, match="floating-point"):
        await add(own, ratio={"list": [0.1]})


TAMPERINGS = {
    "changed": ("UPDATE audit SET after = '{\"number\": 666}' WHERE id = 5", 5, 4),
    "moved to another time": ("UPDATE audit SET at = at - interval '1 hour' WHERE id = 5", 5, 4),
    "blamed on another": ("UPDATE audit SET actor_kind = 'operator' WHERE id = 5", 5, 4),
    "removed": ("DELETE FROM audit WHERE id = 5", 6, 4),
    "removed at the beginning": ("DELETE FROM audit WHERE id = 1", 2, 0),
    "put in": (
        INSERT.replace("VALUES", "OVERRIDING SYSTEM VALUE VALUES")
        .replace("(at", "(id, at")
        .replace("(now", "(100, now"),
        100,
        10,
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_the_first_entry_that_was_tampered_with_is_named(
    own: Database, fresh_settings: AuthSettings, name: str
) -> None:
    for number in range(10):
        await add(own, number=number)
    statement, broken, whole = TAMPERINGS[name]
    connection = await asyncpg.connect(fresh_settings.database_url, server_settings={"search_path": "auth"})
    await connection.execute("ALTER TABLE audit DISABLE TRIGGER ALL")
    await connection.execute(statement)
    await connection.close()
    verdict = await audit.verify(own)
    assert (verdict.broken_id, verdict.entries) == (broken, whole)
    assert verdict.fault


async def test_an_end_that_was_cut_off_is_found_with_what_was_known(
    own: Database, fresh_settings: AuthSettings
) -> None:
    for number in range(10):
        await add(own, number=number)
    known = await audit.verify(own)
    assert known.head_id == 10
    anchor = (known.head_id, known.head_hash)
    await add(own)
    assert (await audit.verify(own, anchor=anchor)).fault is None
    connection = await asyncpg.connect(fresh_settings.database_url, server_settings={"search_path": "auth"})
    await connection.execute("ALTER TABLE audit DISABLE TRIGGER ALL; DELETE FROM audit WHERE id >= 10")
    await connection.close()
    assert (await audit.verify(own)).fault is None
    verdict = await audit.verify(own, anchor=anchor)
    assert (verdict.broken_id, verdict.entries) == (10, 9)


async def test_a_log_longer_than_a_batch_is_gone_through(own: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "BATCH", 3)
    for number in range(7):
        await add(own, number=number)
    assert (await audit.verify(own)).entries == 7


async def test_the_chain_cannot_fork_even_without_its_lock(own: Database) -> None:
    await add(own)
    with pytest.raises(Exception, match="uq_audit_previous_hash"):
        async with own.transaction() as session:
            await session.execute(
                text(
                    "INSERT INTO audit (at, actor_kind, action, previous_hash, hash)"
                    " VALUES (now(), 'system', 'x', :genesis, '\\x01')"
                ),
                {"genesis": audit.GENESIS},
            )


async def test_an_entry_apart_outlives_the_request(own: Database) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with own.transaction():
            await audit.record_apart(own, "login.failed", actor=ANONYMOUS, origin=ORIGIN, after={"why": "password"})
            raise ZeroDivisionError
    assert (await audit.verify(own)).entries == 1


def test_the_canonical_form_is_fixed() -> None:
    """Changing it breaks every chain there is: make a new version beside it instead."""
    entry = AuditEntry(
        at=msgspec.convert("2026-03-08T05:00:00.5+01:00", type=datetime),
        actor_kind="user",
        actor_id=None,
        action="login",
        target_id=None,
        address="192.0.2.7",
        request_id=None,
        trace_id=None,
        before=None,
        after={"b": 1, "a": "ü"},
        previous_hash=audit.GENESIS,
    )
    assert audit.hash_of(entry).hex() == "b5e9428d6b8cda50acc0eb9b4b2555dcc7f43b124c8786ff943090b5c930e2ac"
