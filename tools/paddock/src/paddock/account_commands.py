"""The commands by which an operator looks after accounts: admins, keys, what has expired, demo people, the audit log.

They work in the database of `auth` and need its environment: ``DATABASE_URL``, with the role of `auth` or an
administrator's, and the ``AUTH_…`` secrets.
"""

import argparse
import contextlib
import getpass
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import msgspec

from auth import admin_scopes, admins, audit, audit_list, purge, rotation, seeding
from auth.admin_schemas import AdminInput
from auth.origin import OPERATOR
from auth.passwords import PasswordHasher
from auth.settings import AuthSettings
from common.db import Database
from common.errors import PaddockError
from common.settings import Environment
from paddock.audit import actor

PASSWORD_VARIABLE = "PADDOCK_ADMIN_PASSWORD"  # noqa: S105 - a name
MOST_ENTRIES = 10_000
DEMO_USERS = 20


class AccountError(Exception):
    """A command could not do what it was asked; the message says why and what to do."""


async def run(command: str, arguments: Sequence[str]) -> list[str]:
    """Run a command; return the lines to print. Wrong arguments end the process, with how they are meant."""
    try:
        return await COMMANDS[command](arguments)
    except PaddockError as error:
        faults = [f"{fault.field}: {fault.message}" for fault in error.errors]
        raise AccountError("\n".join([error.detail, *faults])) from error
    except msgspec.ValidationError as error:
        raise AccountError(str(error)) from error


async def _create_admin(arguments: Sequence[str]) -> list[str]:
    parser = argparse.ArgumentParser(prog="paddock create-admin", description="The first admin; others make others.")
    parser.add_argument("--username", required=True)
    parser.add_argument("--email", required=True)
    parser.add_argument("--scopes", default="all", help=f"all, or of: {', '.join(admin_scopes.ADMIN_SCOPES)}")
    parser.add_argument(
        "--password-file", help=f"file with the password, - is standard input; else {PASSWORD_VARIABLE}, else it asks"
    )
    parser.add_argument("--another", action="store_true", help="although there are admins, who could make this one")
    chosen = parser.parse_args(list(arguments))
    scopes = list(admin_scopes.ADMIN_SCOPES) if chosen.scopes == "all" else chosen.scopes.replace(",", " ").split()
    body = {"username": chosen.username, "email": chosen.email, "scopes": scopes}
    wanted = msgspec.convert({**body, "password": _password(chosen.password_file)}, AdminInput)
    async with _opened() as (settings, database):
        hasher = PasswordHasher(settings)
        changed = await admins.appoint(database, hasher, wanted.new(), wanted.password, another=chosen.another)
    return [
        f"{wanted.username} is an admin" + ("" if changed else ", as before: nothing changed, the password neither")
    ]


def _password(file: str | None) -> str:
    """Return the password: from a file or a pipe without its last line end, from the environment, or by asking."""
    if file == "-":
        return sys.stdin.read(4096).removesuffix("\n").removesuffix("\r")
    if file:
        try:
            return Path(file).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise AccountError(f"{file} cannot be read: {error.strerror}") from error
    if told := os.environ.get(PASSWORD_VARIABLE):
        return told
    if not sys.stdin.isatty():
        raise AccountError(f"a password is needed: --password-file FILE, or {PASSWORD_VARIABLE}")
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Once more: "):
        raise AccountError("the two are not the same")
    return password


async def _rotate_keys(arguments: Sequence[str]) -> list[str]:
    parser = argparse.ArgumentParser(
        prog="paddock rotate-keys", description="A new key that access tokens are signed with."
    )
    parser.add_argument("--now", action="store_true", help="sign with it at once, before everybody has fetched it")
    parser.add_argument(
        "--withdraw", metavar="KID", help="do not rotate: refuse a key, and what it signed, from now on"
    )
    chosen = parser.parse_args(list(arguments))
    async with _opened() as (settings, database):
        if chosen.withdraw:
            signer = await rotation.withdraw(database, settings, chosen.withdraw)
            return [f"what {chosen.withdraw} signed is refused everywhere within a minute; {signer} signs now"]
        key_id = await rotation.rotate(database, settings, now=chosen.now)
    return [f"{key_id} is published, and signs " + ("from now on" if chosen.now else "as soon as everybody has it")]


async def _purge_tokens(arguments: Sequence[str]) -> list[str]:
    argparse.ArgumentParser(
        prog="paddock purge-tokens", description="What has expired; auth does it by itself, too."
    ).parse_args(list(arguments))
    async with _opened() as (settings, database):
        purged = await purge.Purge(settings, database, None).run()
        if purged is None:
            raise AccountError("auth is at it right now; try again in a minute")
        await _note(database, "purge", dict(purged))
    return [f"{kind}: {count} removed" for kind, count in purged.items()]


async def _seed(arguments: Sequence[str]) -> list[str]:
    parser = argparse.ArgumentParser(prog="paddock seed", description="Demo accounts, made once; not for production.")
    parser.add_argument("--users", type=int, default=DEMO_USERS, help=f"so many, 1 to {seeding.MOST}")
    count = parser.parse_args(list(arguments)).users
    if not 1 <= count <= seeding.MOST:
        parser.error(f"--users takes 1 to {seeding.MOST}")
    async with _opened() as (settings, database):
        if settings.paddock_env is Environment.PRODUCTION:
            raise AccountError("the password of demo accounts is known to everybody; production gets none")
        made = await seeding.seed(database, PasswordHasher(settings), count)
    return [f"demo_001 to demo_{count:03} are there, {made} of them new; the password of each is {seeding.PASSWORD}"]


async def _audit(arguments: Sequence[str]) -> list[str]:
    parser = argparse.ArgumentParser(prog="paddock audit-accounts")
    acts = parser.add_subparsers(dest="act", required=True)
    verify = acts.add_parser("verify", help="whether every entry is what was written, and none is missing")
    verify.add_argument("--anchor", metavar="ID:HASH", help="what an earlier verdict told: that entry is there still")
    listed = acts.add_parser("list", help="what was done to accounts, oldest first")
    listed.add_argument("--last", type=int, default=100, help=f"so many, by default 100, at most {MOST_ENTRIES}")
    listed.add_argument("--action", help="only this, for example login.failed")
    listed.add_argument("--target", type=UUID, help="only what was done to this account")
    listed.add_argument("--json", action="store_true")
    chosen = parser.parse_args(list(arguments))
    async with _opened() as (_, database):
        if chosen.act == "verify":
            return await _verified(database, chosen.anchor)
        last = min(max(chosen.last, 1), MOST_ENTRIES)
        filters = audit_list.Filters(action=chosen.action, target_id=chosen.target)
        async with database.transaction() as session:
            found = await audit_list.find(session, filters, before=None, limit=last)
    views = [audit_list.EntryView.of(entry) for entry in reversed(found)]
    if chosen.json:
        return [msgspec.json.encode(views).decode()]
    return [_line(view) for view in views] or ["nothing is written yet"]


async def _verified(database: Database, told: str | None) -> list[str]:
    anchor = None
    if told:
        number, _, digest = told.partition(":")
        if not number.isdecimal() or len(digest) != 2 * len(audit.GENESIS):
            raise AccountError("--anchor takes ID:HASH as an earlier verdict told")
        anchor = int(number), digest
    verdict = await audit.verify(database, anchor=anchor)
    if verdict.fault:
        raise AccountError(
            f"BROKEN at entry {verdict.broken_id}: it {verdict.fault}; the {verdict.entries} before it are whole"
        )
    if verdict.head_id is None:
        return ["nothing is written yet"]
    return [f"{verdict.entries} entries, whole; keep this for --anchor: {verdict.head_id}:{verdict.head_hash}"]


def _line(view: audit_list.EntryView) -> str:
    who = view.actor_kind + (f":{view.actor_id}" if view.actor_id else "")
    parts = [f"{view.at:%Y-%m-%d %H:%M:%S}", str(view.id), who, view.action, str(view.target_id or "-")]
    parts += [view.address or "-"]
    for name, facts in (("before", view.before), ("after", view.after)):
        if facts:
            parts.append(f"{name}={msgspec.json.encode(facts).decode()}")
    return "  ".join(parts)


async def _note(database: Database, action: str, facts: Mapping[str, object]) -> None:
    after = {**facts, "operator": actor()}
    await audit.record_apart(database, action, actor=audit.OPERATOR, origin=OPERATOR, after=after)


@contextlib.asynccontextmanager
async def _opened() -> AsyncIterator[tuple[AuthSettings, Database]]:
    """Read the environment of `auth` and open its database for the length of the block."""
    settings = AuthSettings.load()
    database = Database(settings, "auth")
    try:
        yield settings, database
    finally:
        await database.close()


COMMANDS: Mapping[str, Callable[[Sequence[str]], Awaitable[list[str]]]] = {
    "create-admin": _create_admin,
    "rotate-keys": _rotate_keys,
    "purge-tokens": _purge_tokens,
    "seed": _seed,
    "audit-accounts": _audit,
}
