"""Rules of accounts and sessions: values and pure functions."""

import base64
import binascii
import hashlib
import hmac
import re
import unicodedata
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Self
from uuid import UUID

import msgspec

from auth.common_passwords import is_common
from common.errors import FieldError

USERNAME = r"^[A-Za-z0-9_]+$(?!\n)"
"""The lookahead is there because ``$`` also matches before a newline at the end."""
USERNAME_LENGTH = (3, 50)
EMAIL_LENGTH = (6, 254)
PASSWORD_LENGTH = (8, 256)
FULL_NAME_LENGTH = 100
NAME_LENGTH = 4
"""Shorter ones are part of too many words."""

_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LOCAL_PART_LENGTH = 64
_DOMAIN = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]")


def is_email(address: str) -> bool:
    """Tell whether mail could be sent there: a dot-atom of RFC 5321, ``@``, and a host name of two labels or more."""
    local, at, domain = address.rpartition("@")
    return bool(at and len(local) <= _LOCAL_PART_LENGTH and _LOCAL_PART.fullmatch(local) and _DOMAIN.fullmatch(domain))


def password_faults(password: str, *, username: str, email: str, composition: bool = True) -> list[str]:
    """Say everything that is wrong with a new password, apart from its length.

    ``composition`` asks for an upper and a lower case letter and a digit.
    """
    faults = [
        message
        for missing, message in (
            (not any(character.isupper() for character in password), "needs an upper case letter"),
            (not any(character.islower() for character in password), "needs a lower case letter"),
            (not any(character.isdecimal() for character in password), "needs a digit"),
        )
        if missing and composition
    ]
    folded, names = password.casefold(), _names(username, email)
    if folded in names:
        faults.append("must not be the username or the e-mail address")
    elif any(name in folded for name in names):
        faults.append("must not contain the username or the e-mail address")
    if is_common(password):
        faults.append("is one of the passwords that everybody tries first")
    return faults


def _names(username: str, email: str) -> set[str]:
    """Return what an account is known by; the part before the ``@`` unless it is too short to be a name."""
    local = email.rpartition("@")[0]
    return {name.casefold() for name in (username, email, local if len(local) >= NAME_LENGTH else "") if name}


def registration_faults(
    username: str, email: str, password: str, full_name: str | None, *, composition: bool = True
) -> list[FieldError]:
    """Say what is wrong with a registration whose lengths and characters are already right."""
    faults = [
        FieldError(field="password", message=fault)
        for fault in password_faults(password, username=username, email=email, composition=composition)
    ]
    if not is_email(email):
        faults.append(FieldError(field="email", message="is not an e-mail address"))
    if full_name and any(unicodedata.category(character) == "Cc" for character in full_name):
        faults.append(FieldError(field="full_name", message="must not contain control characters"))
    return faults


def masked(email: str) -> str:
    """Show an address so that its owner knows it and nobody else learns it: ``s…@example.com``."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}…@{domain}"


class RefreshToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a refresh token stands for: the so-manieth token of one session.

    To the client it is opaque: ``pdr_`` and 64 base64url characters, of which 224 bits are a keyed hash. Nothing of
    it is stored, so the database gives no token away; the hash proves that we issued it, so a forged one costs no
    query and only a token that was truly ours can end a session.
    """

    session_id: UUID
    generation: int

    def seal(self, secret: bytes) -> str:
        """Render the token."""
        body = self._body()
        return PREFIX + base64.urlsafe_b64encode(body + _mac(secret, body)).decode()

    @classmethod
    def read(cls, token: str, secret: bytes) -> Self | None:
        """Return what the token stands for, or nothing when we did not issue it."""
        if len(token) != TOKEN_LENGTH or not token.startswith(PREFIX):
            return None
        try:
            raw = base64.b64decode(token.removeprefix(PREFIX), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, mac = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
        if not hmac.compare_digest(mac, _mac(secret, body)):
            return None
        return cls(session_id=UUID(bytes=body[:16]), generation=int.from_bytes(body[16:]))

    def _body(self) -> bytes:
        return self.session_id.bytes + self.generation.to_bytes(_BODY_BYTES - 16)


PREFIX = "pdr_"
"""What a scanner for leaked secrets looks for."""
_BODY_BYTES = 20
_MAC_BYTES = 28
TOKEN_LENGTH = len(PREFIX) + (_BODY_BYTES + _MAC_BYTES) * 4 // 3


def _mac(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, b"paddock refresh token 1" + body, hashlib.sha256)[:_MAC_BYTES]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """The refresh tokens of one login, of which only the newest is good."""

    generation: int
    rotated_at: datetime
    expires_at: datetime
    revoked: bool


class Verdict(Enum):
    """What becomes of a refresh token."""

    ROTATE = auto()
    """It is the newest: the next one takes its place."""
    REPEAT = auto()
    """It was the newest a moment ago: its holder asks twice and gets the same successor."""
    REUSED = auto()
    """It was replaced: two hold it, one of them a thief, so the session ends."""
    OVER = auto()
    """The session has ended or run out."""


def judge(presented: int, family: Family, now: datetime, *, grace: timedelta, idle: timedelta) -> Verdict:
    """Decide about the token of generation ``presented`` (RFC 9700 section 4.14.2)."""
    if family.revoked or now >= family.expires_at or now - family.rotated_at >= idle:
        return Verdict.OVER
    if presented == family.generation:
        return Verdict.ROTATE
    if presented > family.generation:
        return Verdict.OVER  # the database was put back to an earlier state
    if presented == family.generation - 1 and now - family.rotated_at < grace:
        return Verdict.REPEAT
    return Verdict.REUSED
