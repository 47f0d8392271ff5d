"""Devices and addresses that an account was logged in from: a lock against strangers does not hold there.

A device is known by a token that its last login gave: a keyed hash over account, device, time, and when
the password was changed last. Nothing of it is stored; a new password voids all of an account's, and so does time.
An address is known by a row.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import DateTime, Text, Uuid, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.limits import of_address
from auth.models import Familiar, User
from auth.origin import Origin
from auth.owners import Owner
from auth.sealing import derived
from auth.settings import AuthSettings

KNOWN_FOR = timedelta(days=90)
MOST_ADDRESSES = 50
"""Of one user; the one used longest ago makes room."""
EXACT_TO = timedelta(hours=1)
"""How exactly it is kept when an address was used last."""
STRANGER = "stranger"
PREFIX = "pdd_"
_ID_BYTES, _TIME_BYTES, _MAC_BYTES = 16, 4, 28
TOKEN_LENGTH = len(PREFIX) + (_ID_BYTES + _TIME_BYTES + _MAC_BYTES) * 4 // 3
NOBODY = UUID(int=0)


class Devices:
    """Makes and recognises the tokens of devices."""

    def __init__(self, settings: AuthSettings) -> None:
        self._key = derived(settings.token_secret, b"device token 1")

    def token(self, owner: Owner, device_id: UUID, now: datetime) -> str:
        """Make the token of a device that its owner is on."""
        body = device_id.bytes + int(now.timestamp()).to_bytes(_TIME_BYTES)
        return PREFIX + base64.urlsafe_b64encode(body + self._mac(owner, body)).decode()

    def recognise(self, owner: Owner, token: str | None, now: datetime) -> UUID | None:
        """Return the device's id when the token was made for this account and not too long ago."""
        if token is None or len(token) != TOKEN_LENGTH or not token.startswith(PREFIX):
            return None
        try:
            raw = base64.b64decode(token.removeprefix(PREFIX), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, mac = raw[: _ID_BYTES + _TIME_BYTES], raw[_ID_BYTES + _TIME_BYTES :]
        if not hmac.compare_digest(mac, self._mac(owner, body)):
            return None
        made_at = datetime.fromtimestamp(int.from_bytes(body[_ID_BYTES:]), UTC)
        return UUID(bytes=body[:_ID_BYTES]) if now - made_at < KNOWN_FOR else None

    def _mac(self, owner: Owner, body: bytes) -> bytes:
        changed = owner.password_changed_at
        since = b"" if changed is None else changed.astimezone(UTC).isoformat(timespec="microseconds").encode()
        whose = type(owner).__tablename__.encode() + owner.id.bytes
        return hmac.digest(self._key, whose + body + since, hashlib.sha256)[:_MAC_BYTES]


async def origin_of(
    session: AsyncSession, owner: Owner | None, device_id: UUID | None, origin: Origin, now: datetime
) -> str:
    """Name where a try comes from, as far as its account knows the place: a device, an address, or a stranger."""
    if device_id is not None:
        return f"device:{device_id.hex}"
    address = _named(origin)
    whose = owner.id if isinstance(owner, User) else NOBODY  # asked for nobody too, so that both take as long
    values = {"whose": whose, "address": address, "since": now - KNOWN_FOR}
    return await session.scalar(_KNOWN, values) or STRANGER


async def remember(session: AsyncSession, owner: Owner, origin: Origin, now: datetime) -> None:
    """Know the address of a login from now on. Admins are known by their devices alone."""
    if not isinstance(owner, User) or origin.address is None:
        return
    values = {"whose": owner.id, "address": _named(origin), "now": now, "lately": now - EXACT_TO}
    if await session.scalar(_REMEMBER, values) is not None:
        await session.execute(_FORGET, {"whose": owner.id})


_WHOSE, _ADDRESS = bindparam("whose", type_=Uuid), bindparam("address", type_=Text)
_NOW, _SINCE, _LATELY = (bindparam(name, type_=DateTime(timezone=True)) for name in ("now", "since", "lately"))
_KNOWN = select(Familiar.origin).where(
    Familiar.user_id == _WHOSE, Familiar.origin == _ADDRESS, Familiar.last_used_at > _SINCE
)
_REMEMBER = (
    insert(Familiar)
    .values(user_id=_WHOSE, origin=_ADDRESS, last_used_at=_NOW)
    .on_conflict_do_update(
        index_elements=[Familiar.user_id, Familiar.origin],
        set_={"last_used_at": _NOW},
        where=Familiar.last_used_at < _LATELY,
    )
    .returning(Familiar.origin)
)
_SURPLUS = (
    select(Familiar.origin)
    .where(Familiar.user_id == _WHOSE)
    .order_by(Familiar.last_used_at.desc())
    .offset(MOST_ADDRESSES)
)
_FORGET = delete(Familiar).where(Familiar.user_id == _WHOSE, Familiar.origin.in_(_SURPLUS))
"""Built once: a login has enough to do."""


def new_device() -> UUID:
    """Return an id for a device that has none."""
    return uuid4()


def _named(origin: Origin) -> str:
    return f"address:{of_address(origin.address)}"
