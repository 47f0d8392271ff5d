"""Access tokens, signed (RFC 9068)."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import msgspec

from auth.keys import Signer
from common.security import ALGORITHM, TYPE


class Bearer(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a token speaks for, and what it may do."""

    id: UUID
    username: str
    session_id: UUID
    """The login or the personal access token it comes from."""
    verified: bool
    scopes: frozenset[str] | None
    """``None`` is everything that its owner may."""


def access_token(
    signer: Signer, bearer: Bearer, *, issuer: str, audience: str, issued_at: datetime, life: timedelta
) -> str:
    """Sign a token."""
    claims: dict[str, Any] = {
        "sub": str(bearer.id),
        "username": bearer.username,
        "iss": issuer,
        "aud": audience,
        "iat": issued_at,
        "exp": issued_at + life,
        "jti": uuid4().hex,
        "sid": str(bearer.session_id),
        "email_verified": bearer.verified,
    }
    if bearer.scopes is not None:
        claims["scope"] = " ".join(sorted(bearer.scopes))
    return jwt.encode(claims, signer.private_key, ALGORITHM, headers={"kid": signer.key_id, "typ": TYPE})
