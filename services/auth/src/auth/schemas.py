"""What clients send and get."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from msgspec import Meta, Struct

from auth import models
from auth.domain import EMAIL_LENGTH, FULL_NAME_LENGTH, PASSWORD_LENGTH, TOKEN_LENGTH, USERNAME, USERNAME_LENGTH
from auth.familiar import TOKEN_LENGTH as DEVICE_TOKEN_LENGTH
from auth.issuing import Grant


class Registration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new account. Whatever else a client would like to be true of it is refused."""

    username: Annotated[str, Meta(min_length=USERNAME_LENGTH[0], max_length=USERNAME_LENGTH[1], pattern=USERNAME)]
    email: Annotated[str, Meta(min_length=EMAIL_LENGTH[0], max_length=EMAIL_LENGTH[1])]
    password: Annotated[
        str,
        Meta(
            min_length=PASSWORD_LENGTH[0],
            max_length=PASSWORD_LENGTH[1],
            description="With upper and lower case letters and a digit, without username and address, not common",
        ),
    ]
    full_name: Annotated[str, Meta(max_length=FULL_NAME_LENGTH)] | None = None


class Credentials(Struct, frozen=True, kw_only=True):
    """A login, as JSON or as the form of OAuth2's password grant, whose other parameters are ignored (RFC 6749)."""

    username: Annotated[str, Meta(min_length=1, max_length=EMAIL_LENGTH[1], description="Username or e-mail address")]
    password: Annotated[str, Meta(min_length=1, max_length=PASSWORD_LENGTH[1])]
    grant_type: Literal["password"] = "password"
    device_token: (
        Annotated[str, Meta(max_length=DEVICE_TOKEN_LENGTH * 4, description="Of an earlier login on this device")]
        | None
    ) = None


class RefreshRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session that goes on."""

    refresh_token: Annotated[str, Meta(min_length=1, max_length=TOKEN_LENGTH * 4)]


class Tokens(Struct, frozen=True, kw_only=True):
    """What a client keeps of a session."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_in: Annotated[int, Meta(description="Seconds until the access token expires")]

    @classmethod
    def of(cls, grant: Grant) -> "Tokens":
        """Show what was granted."""
        return Tokens(**_pair(grant))


class LoginTokens(Tokens, frozen=True, kw_only=True):
    """What a client keeps of a login."""

    device_token: Annotated[
        str, Meta(description="For the next login on this device, in the field of that name or in X-Device-Token")
    ]

    @classmethod
    def of_login(cls, grant: Grant) -> Self:
        """Show what was granted."""
        return cls(**_pair(grant), device_token=grant.device_token or "")


def _pair(grant: Grant) -> dict[str, Any]:
    return {
        "access_token": grant.access_token,
        "refresh_token": grant.refresh_token,
        "token_type": "bearer",
        "expires_in": grant.expires_in,
    }


class Logout(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What else is to end beside the session of the access token."""

    refresh_token: Annotated[str, Meta(max_length=TOKEN_LENGTH * 4)] | None = None


class SessionItem(Struct, frozen=True, kw_only=True):
    """Somewhere the caller is logged in."""

    id: UUID
    device: Annotated[str, Meta(description="What the client calls itself")] | None
    address: str | None
    created_at: datetime
    last_seen_at: Annotated[datetime, Meta(description="When it got tokens last")]
    expires_at: datetime
    current: Annotated[bool, Meta(description="True for the session of this request")]

    @classmethod
    def of(cls, row: models.LoginSession, current: UUID) -> Self:
        """Show a row."""
        return cls(
            id=row.id,
            device=row.device,
            address=row.address,
            created_at=row.created_at,
            last_seen_at=row.last_seen_at,
            expires_at=row.expires_at,
            current=row.id == current,
        )


class SessionList(Struct, frozen=True, kw_only=True):
    """Everywhere the caller is logged in."""

    items: list[SessionItem]


class User(Struct, frozen=True, kw_only=True):
    """An account as its owner sees it."""

    id: UUID
    username: str
    email: str
    full_name: str | None
    created_at: datetime

    @classmethod
    def of(cls, user: models.User) -> Self:
        """Show a row."""
        return cls(
            id=user.id,
            username=user.username,
            email=user.email,
            full_name=user.full_name,
            created_at=user.created_at,
        )


class Jwk(Struct, frozen=True, kw_only=True):
    """A public Ed25519 key (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    alg: Literal["EdDSA"]
    use: Literal["sig"]


class JwkSet(Struct, frozen=True, kw_only=True):
    """The keys that access tokens are verified with."""

    keys: list[Jwk]
