"""What clients send and get."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from msgspec import Meta, Struct

from auth import models
from auth.domain import EMAIL_LENGTH, FULL_NAME_LENGTH, PASSWORD_LENGTH, TOKEN_LENGTH, USERNAME, USERNAME_LENGTH


class Registration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new account. Whatever else a client would like to be true of it is refused."""

    username: Annotated[str, Meta(min_length=USERNAME_LENGTH[0], max_length=USERNAME_LENGTH[1], pattern=USERNAME)]
    email: Annotated[str, Meta(min_length=EMAIL_LENGTH[0], max_length=EMAIL_LENGTH[1])]
    password: Annotated[
        str,
        Meta(
            min_length=PASSWORD_LENGTH[0],
            max_length=PASSWORD_LENGTH[1],
            description="With upper and lower case letters and a digit; not the username or e-mail address",
        ),
    ]
    full_name: Annotated[str, Meta(max_length=FULL_NAME_LENGTH)] | None = None


class Credentials(Struct, frozen=True, kw_only=True):
    """A login, as JSON or as the form of OAuth2's password grant, whose other parameters are ignored (RFC 6749)."""

    username: Annotated[str, Meta(min_length=1, max_length=EMAIL_LENGTH[1], description="Username or e-mail address")]
    password: Annotated[str, Meta(min_length=1, max_length=PASSWORD_LENGTH[1])]
    grant_type: Literal["password"] = "password"


class RefreshRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session that goes on."""

    refresh_token: Annotated[str, Meta(min_length=1, max_length=TOKEN_LENGTH * 4)]


class Tokens(Struct, frozen=True, kw_only=True):
    """What a client keeps of a session."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_in: Annotated[int, Meta(description="Seconds until the access token expires")]


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
