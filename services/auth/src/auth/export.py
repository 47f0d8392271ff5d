"""A copy of everything that is held about somebody, as one zip archive that says what is what. No secret is in it."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import preferences, profile
from auth.audit import Kind
from auth.models import (
    AuditEntry,
    Avatar,
    Familiar,
    LeagueMember,
    LoginSession,
    Mail,
    Model,
    PersonalAccessToken,
    User,
)
from auth.objects import Objects
from common.db import Database

MOST_ENTRIES = 10_000
"""Of the audit log, the newest."""
MODE = 0o600

_SHOWN: Mapping[type[Model], tuple[str, ...]] = {
    User: (
        *("id", "username", "email", "full_name", "phone", "created_at", "updated_at", "version", "email_verified_at"),
        *("password_changed_at", "username_changed_at", "must_reset_password", "deactivated_at", "deleted_at"),
    ),
    LoginSession: (
        *("id", "device", "address", "created_at", "last_seen_at", "rotated_at", "expires_at"),
        *("revoked_at", "revoked_because"),
    ),
    Familiar: ("origin", "last_used_at"),
    PersonalAccessToken: ("id", "name", "hint", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at"),
    Mail: ("kind", "address", "created_at", "sent_at"),
    LeagueMember: ("league_id", "team_id"),
    Avatar: ("size", "created_at"),
}
"""What is told of a row: a list, so that a column that is added later is not told before somebody thought about it."""

README = """\
This archive holds what Paddock keeps about you, as of {now}.
Times are in UTC. Files end in .json hold JSON (RFC 8259) in UTF-8.

account.json                  your account: names, address, telephone number, and when they changed
preferences.json              what you have chosen
sessions.json                 your logins: device, network address, when they began and ended
known_devices.json            the addresses and devices you have logged in from
personal_access_tokens.json   the tokens of your programs, without the tokens themselves, which we do not have
mails.json                    the letters we sent you: kind, address, time
audit.json                    what was done by you and to you, and when;{shortened} of others who
                              acted, only what they are
league_memberships.json       which leagues you are in, as the profile page knows it
leagues.json                  your teams, every line-up, your leagues and the leagues you are in
webhooks.json                 your endpoints without their secrets, and the newest deliveries to each
{avatar}
Your password is kept as a hash that tells nothing, and is not in here. Points and ranks belong to your teams and are
public: look them up by the ids of your teams.
"""


async def collect(session: AsyncSession, user_id: UUID) -> dict[str, Any]:
    """Return the contents of each JSON file that `auth` itself can fill, by its name without the ending."""
    user = await profile.own(session, user_id)
    entries, total = await _audit(session, user_id)
    picture = await session.get(Avatar, user_id)
    return {
        "account": _shown(user) | {"avatar": _shown(picture) if picture else None},
        "preferences": await preferences.read(session, user_id),
        "sessions": await _rows(session, LoginSession, user_id, "created_at"),
        "known_devices": await _rows(session, Familiar, user_id, "last_used_at"),
        "personal_access_tokens": await _rows(session, PersonalAccessToken, user_id, "created_at"),
        "mails": await _rows(session, Mail, user_id, "created_at"),
        "league_memberships": await _rows(session, LeagueMember, user_id, "league_id"),
        "audit": {"entries_in_all": total, "entries": entries},
    }


async def picture_of(database: Database, store: Objects, user_id: UUID) -> bytes | None:
    """Return the picture, if there is one; raise `UnavailableError` when the store is away."""
    async with database.transaction() as session:
        name = await session.scalar(select(Avatar.object_name).where(Avatar.user_id == user_id))
    return await store.read(name) if name else None


def archive(files: Mapping[str, Any], picture: bytes | None, now: datetime) -> bytes:
    """Pack the archive. Names are ours alone, so nothing that anybody wrote is ever a path."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:

        def add(name: str, content: bytes) -> None:
            entry = zipfile.ZipInfo(name, date_time=now.timetuple()[:6])
            entry.external_attr = MODE << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(entry, content)

        add("README.txt", _readme(files, now, pictured=picture is not None).encode())
        for name, content in files.items():
            add(f"{name}.json", msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
        if picture is not None:
            add("avatar.webp", picture)
    return packed.getvalue()


def _readme(files: Mapping[str, Any], now: datetime, *, pictured: bool) -> str:
    total = files["audit"]["entries_in_all"]
    shortened = f" of {total} entries the newest {MOST_ENTRIES};" if total > MOST_ENTRIES else ""
    avatar = "avatar.webp                   your picture\n" if pictured else ""
    return README.format(now=f"{now:%Y-%m-%d %H:%M:%S}", shortened=shortened, avatar=avatar)


async def _rows(session: AsyncSession, table: type[Any], user_id: UUID, order: str) -> list[dict[str, Any]]:
    query = select(table).where(table.user_id == user_id).order_by(getattr(table, order))
    return [_shown(row) for row in await session.scalars(query)]


def _shown(row: Model) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _SHOWN[type(row)]}


async def _audit(session: AsyncSession, user_id: UUID) -> tuple[Sequence[dict[str, Any]], int]:
    """List what was done by and to somebody, the newest first, and count it; of others who acted, only their kind."""
    mine = or_(AuditEntry.target_id == user_id, AuditEntry.actor_id == user_id)
    total = await session.scalar(select(func.count()).select_from(AuditEntry).where(mine))
    rows = await session.scalars(select(AuditEntry).where(mine).order_by(AuditEntry.id.desc()).limit(MOST_ENTRIES))
    return [_entry(row, user_id) for row in rows], int(total or 0)


def _entry(row: AuditEntry, user_id: UUID) -> dict[str, Any]:
    told: dict[str, Any] = {"at": row.at, "actor": row.actor_kind, "action": row.action}
    if row.target_id == user_id:
        told |= {"before": row.before, "after": row.after}
    if row.actor_kind == Kind.USER and row.actor_id == user_id:
        told |= {"address": row.address, "request_id": row.request_id}
    return told
