"""The operator's commands about accounts, in the database of `auth`."""

import asyncio
import getpass
import io
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from sqlalchemy import func, select, text

from auth import audit, seeding
from auth.admin_scopes import ADMIN_SCOPES
from auth.models import Admin, AuditEntry, Guard, User
from auth.passwords import PasswordHasher
from auth.settings import AuthSettings
from common import migrate
from common.db import Database
from common.settings import Environment
from devstack.testing import PASSWORD as ROLE_PASSWORD
from devstack.testing import Servers
from paddock import account_commands
from paddock.__main__ import main
from paddock.account_commands import AccountError

PASSWORD = "Scrutineer-2026"
NEW = ["--username", "chief", "--email", "chief@example.com"]


@pytest.fixture(scope="module")
async def template(prepared: Servers) -> AsyncIterator[str]:
    """Name a database as `paddock migrate` leaves it."""
    name = f"operators_{uuid4().hex}"
    admin = await asyncpg.connect(prepared.database_url)
    await admin.execute(f"CREATE DATABASE {name}")
    url = f"{prepared.database_url.rsplit('/', 1)[0]}/{name}"
    await migrate.bootstrap(url, {"auth": ROLE_PASSWORD})
    await migrate.upgrade("auth", url)
    yield name
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def place(prepared: Servers, template: str) -> AsyncIterator[tuple[str, str]]:
    """Give the URLs of an administrator and of auth's role for a database of one test's own."""
    name = f"operator_{uuid4().hex}"
    admin = await asyncpg.connect(prepared.database_url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await admin.execute(f"GRANT CONNECT ON DATABASE {name} TO {migrate.role_of('auth')}")
    urls = (prepared.database_url, prepared.database_url_of("auth"))
    yield (f"{urls[0].rsplit('/', 1)[0]}/{name}", f"{urls[1].rsplit('/', 1)[0]}/{name}")
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def database(place: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """The same with auth's role, which the environment names."""
    monkeypatch.setenv("DATABASE_URL", place[1])
    monkeypatch.setenv("AUTH_BCRYPT_COST", "4")
    monkeypatch.delenv(account_commands.PASSWORD_VARIABLE, raising=False)
    database = Database(AuthSettings(database_url=place[1]), "auth")
    yield database
    await database.close()


async def run(command: str, *arguments: str) -> str:
    return "\n".join(await account_commands.run(command, arguments))


async def everybody(database: Database) -> dict[str, Admin]:
    async with database.transaction() as session:
        return {admin.username: admin for admin in (await session.scalars(select(Admin))).all()}


async def actions(database: Database) -> list[str]:
    async with database.transaction() as session:
        return list((await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id))).all())


Given = Callable[[pytest.MonkeyPatch, Path], list[str]]


def by_file(_: pytest.MonkeyPatch, folder: Path) -> list[str]:
    (folder / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    return ["--password-file", str(folder / "password")]


def by_pipe(patch: pytest.MonkeyPatch, _: Path) -> list[str]:
    patch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\r\n"))
    return ["--password-file", "-"]


def by_variable(patch: pytest.MonkeyPatch, _: Path) -> list[str]:
    patch.setenv(account_commands.PASSWORD_VARIABLE, PASSWORD)
    return []


def by_hand(patch: pytest.MonkeyPatch, _: Path) -> list[str]:
    patch.setattr(getpass, "getpass", lambda _: PASSWORD)
    patch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    return []


@pytest.mark.parametrize("given", [by_file, by_pipe, by_variable, by_hand])
async def test_the_password_of_the_first_admin_comes_in_each_way(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: Given
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert await run("create-admin", *NEW, *given(monkeypatch, tmp_path)) == "chief is an admin"
    admin = (await everybody(database))["chief"]
    assert admin.scopes == sorted(ADMIN_SCOPES)
    assert await PasswordHasher(AuthSettings(bcrypt_cost=4)).verify(PASSWORD, admin.password_hash)
    assert PASSWORD not in admin.password_hash


async def test_an_admin_is_made_once_and_further_ones_only_on_purpose(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(account_commands.PASSWORD_VARIABLE, PASSWORD)
    await run("create-admin", *NEW, "--scopes", "users:read, admins:write")
    stored = (await everybody(database))["chief"].password_hash
    monkeypatch.setenv(account_commands.PASSWORD_VARIABLE, PASSWORD + "x")
    assert "as before" in await run("create-admin", *NEW, "--scopes", "users:read")
    assert "as before" not in await run("create-admin", *NEW)
    chief = (await everybody(database))["chief"]
    assert (chief.scopes, chief.password_hash) == (sorted(ADMIN_SCOPES), stored)
    other = ["--username", "other", "--email", "other@example.com"]
    with pytest.raises(AccountError, match="There are admins already"):
        await run("create-admin", *other)
    await run("create-admin", *other, "--another")
    assert set(await everybody(database)) == {"chief", "other"}
    assert await actions(database) == ["admin.create", "admin.scopes", "admin.create"]
    assert (await audit.verify(database)).fault is None


@pytest.mark.parametrize(
    ("changes", "password", "words"),
    [
        ([], "Sh0rt", "length >= 8"),
        ([], "nouppercase1", "upper case"),
        ([], "Password123", "everybody tries first"),
        ([], "Chief-of-2026", "username or the e-mail"),
        (["--email", "nowhere"], PASSWORD, "e-mail address"),
        (["--username", "no one"], PASSWORD, "regex"),
        (["--scopes", "everything"], PASSWORD, "no such scope: everything"),
    ],
)
async def test_what_cannot_be_an_admin_is_refused_in_words(
    database: Database, monkeypatch: pytest.MonkeyPatch, changes: list[str], password: str, words: str
) -> None:
    monkeypatch.setenv(account_commands.PASSWORD_VARIABLE, password)
    with pytest.raises(AccountError, match=words) as refused:
        await run("create-admin", *NEW, *changes)
    assert password not in str(refused.value)
    assert await everybody(database) == {}


async def test_without_a_password_nothing_happens(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(AccountError, match="a password is needed"):
        await run("create-admin", *NEW)
    with pytest.raises(AccountError, match="cannot be read"):
        await run("create-admin", *NEW, "--password-file", str(tmp_path / "missing"))
    answers = iter([PASSWORD, PASSWORD + "x"])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(answers))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with pytest.raises(AccountError, match="not the same"):
        await run("create-admin", *NEW)
    assert await everybody(database) == {}


async def test_demo_accounts_are_made_once_and_never_in_production(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "demo_001 to demo_003 are there, 3 of them new" in await run("seed", "--users", "3")
    assert "demo_001 to demo_005 are there, 2 of them new" in await run("seed", "--users", "5")
    async with database.transaction() as session:
        people = (await session.scalars(select(User).order_by(User.username))).all()
        told = await session.scalar(text("SELECT count(*) FROM outbox WHERE subject = 'user.registered'"))
    assert [person.username for person in people] == [f"demo_00{number}" for number in range(1, 6)]
    assert all(person.email_verified_at for person in people)
    assert told == 5
    assert await PasswordHasher(AuthSettings(bcrypt_cost=4)).verify(seeding.PASSWORD, people[4].password_hash)
    settings = AuthSettings.load()
    production = msgspec.structs.replace(settings, paddock_env=Environment.PRODUCTION)
    monkeypatch.setattr(AuthSettings, "load", lambda: production)
    with pytest.raises(AccountError, match="production"):
        await run("seed", "--users", "9")
    async with database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(User)) == 5


async def test_keys_are_rotated_and_withdrawn(database: Database) -> None:
    first = (await run("rotate-keys", "--now")).split()[0]
    second = (await run("rotate-keys")).split()[0]
    assert len({first, second}) == 2
    withdrawn = await run("rotate-keys", "--withdraw", first)
    assert withdrawn.startswith(f"what {first} signed is refused everywhere within a minute; ")
    assert first not in withdrawn.partition(";")[2]
    with pytest.raises(AccountError, match="No signing key"):
        await run("rotate-keys", "--withdraw", first)
    assert "key.withdraw" in await actions(database)


async def test_what_has_expired_is_removed_at_once(database: Database) -> None:
    async with database.transaction() as session:
        session.add(
            Guard(
                subject=b"x",
                origin="stranger",
                failures=1,
                pending=0,
                last_at=msgspec.convert("2026-01-01T00:00:00Z", datetime),
            )
        )
    assert "guards: 1 removed" in await run("purge-tokens")
    assert "guards: 0 removed" in await run("purge-tokens")
    assert await actions(database) == ["purge", "purge"]


async def test_the_log_is_listed_and_found_whole_or_broken(
    place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", place[1])
    assert await run("audit-accounts", "verify") == "nothing is written yet"
    monkeypatch.setenv(account_commands.PASSWORD_VARIABLE, PASSWORD)
    await run("create-admin", *NEW)
    await run("seed", "--users", "3")
    whole = await run("audit-accounts", "verify")
    assert whole.startswith("4 entries, whole")
    anchor = whole.split()[-1]
    assert (await run("audit-accounts", "verify", "--anchor", anchor)).startswith("4 entries, whole")
    lines = (await run("audit-accounts", "list")).splitlines()
    assert [line.split("  ")[3] for line in lines] == ["admin.create", "user.seed", "user.seed", "user.seed"]
    assert "chief@example.com" not in lines[0]
    listed = msgspec.json.decode(await run("audit-accounts", "list", "--json", "--last", "1"))
    assert [entry["id"] for entry in listed] == [4]
    only = await run("audit-accounts", "list", "--action", "admin.")
    assert only.splitlines() == lines[:1]
    assert await run("audit-accounts", "list", "--target", listed[0]["target_id"]) == lines[3]
    connection = await asyncpg.connect(place[0])
    await connection.execute("ALTER TABLE auth.audit DISABLE TRIGGER ALL; DELETE FROM auth.audit WHERE id = 2")
    with pytest.raises(AccountError, match=r"BROKEN at entry 3: it does not follow .*; the 1 before it are whole"):
        await run("audit-accounts", "verify")
    await connection.execute("DELETE FROM auth.audit WHERE id > 1")
    await connection.close()
    assert (await run("audit-accounts", "verify")).startswith("1 entries, whole")
    with pytest.raises(AccountError, match="BROKEN at entry 4: it is gone"):
        await run("audit-accounts", "verify", "--anchor", anchor)
    for nonsense in ("4", "x:y", f"4:{'0' * 63}"):
        with pytest.raises(AccountError, match="ID:HASH"):
            await run("audit-accounts", "verify", "--anchor", nonsense)


async def test_the_command_ends_with_a_code_and_a_line(
    database: Database, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(account_commands.PASSWORD_VARIABLE, PASSWORD)

    async def paddock(url: str, *arguments: str) -> str:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setattr(sys, "argv", ["paddock", *arguments])
        await asyncio.to_thread(main)
        return capsys.readouterr().out

    assert await paddock(place[0], "create-admin", *NEW) == "chief is an admin\n", "an administrator's URL does as well"
    other = ["--username", "other", "--email", "other@example.com"]
    with pytest.raises(SystemExit, match="There are admins already"):
        await paddock(place[1], "create-admin", *other)
    with pytest.raises(SystemExit, match="PostgreSQL refused"):
        await paddock("postgresql://nobody@127.0.0.1:1/none", "audit-accounts", "verify")
    with pytest.raises(SystemExit, match=r"PostgreSQL refused: .*check DATABASE_URL"):
        await paddock(place[1].replace("paddock_auth:", "nobody_at_all:"), "audit-accounts", "verify")
    monkeypatch.setenv("PADDOCK_ENV", "production")
    with pytest.raises(SystemExit, match="has its default value"):
        await paddock(place[1], "seed")
    assert set(await everybody(database)) == {"chief"}
