"""The HTTP surface of personal access tokens; what a token may do never includes making or ending one."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from litestar import Response, delete, get, post
from litestar.datastructures import State
from msgspec import Meta, Struct
from sqlalchemy.ext.asyncio import AsyncSession

from auth import access_tokens, models
from auth.access_tokens import LIFE_DAYS, NAME_LENGTH, AccessTokens
from auth.origin import Origin
from auth.scopes import SCOPES
from common.http import BEARER, problems
from common.security import SESSION_ONLY, Principal

PATH = "/api/v1/users/me/tokens"
OWN = {"scope": SESSION_ONLY}
NO_STORE = {"Cache-Control": "no-store"}
TOKEN_LENGTH = 200
"""More than any token has; what is longer is not even looked at."""


class TokenRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token that somebody wants for a program."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH, description="What it is for; yours alone")]
    scopes: Annotated[
        list[Annotated[str, Meta(max_length=40)]],
        Meta(min_length=1, max_length=len(SCOPES), description=f"Of: {', '.join(SCOPES)}"),
    ]
    expires_in_days: Annotated[int, Meta(ge=1, le=LIFE_DAYS)]


class Token(Struct, frozen=True, kw_only=True):
    """A token as its owner sees it ever after."""

    id: UUID
    name: str
    hint: Annotated[str, Meta(description="Its last characters, to tell one from another")]
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: Annotated[datetime | None, Meta(description="Exact to a minute, and to what the gateway remembers")]

    @classmethod
    def of(cls, row: models.PersonalAccessToken) -> Self:
        """Show a row."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})


class NewToken(Struct, frozen=True, kw_only=True):
    """A token as it is seen once."""

    id: UUID
    name: str
    token: Annotated[str, Meta(description="Keep it now: it is never shown again")]
    hint: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime


class TokenList(Struct, frozen=True, kw_only=True):
    """The tokens of a user."""

    items: list[Token]


class Scope(Struct, frozen=True, kw_only=True):
    """Something that a token may be allowed."""

    scope: str
    description: str


class ScopeList(Struct, frozen=True, kw_only=True):
    """All there are."""

    items: list[Scope]


class ExchangeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token that came to the gateway."""

    token: Annotated[str, Meta(max_length=TOKEN_LENGTH)]


class Exchange(Struct, frozen=True, kw_only=True):
    """The access token to go on with."""

    access_token: str
    expires_in: int


async def provide_programs(state: State) -> AccessTokens:
    """Litestar dependency ``programs``."""
    tokens: AccessTokens = state.access_tokens
    return tokens


@post(PATH, tags=["tokens"], security=BEARER, opt=OWN, responses=problems(403, 409))
async def create_token(
    data: TokenRequest, principal: Principal, session: AsyncSession, programs: AccessTokens, origin: Origin
) -> Response[NewToken]:
    """Issue a token for a program. It is in this answer and nowhere else."""
    issued = await programs.create(
        session,
        principal.user_id,
        name=data.name,
        wanted=data.scopes,
        days=data.expires_in_days,
        origin=origin,
    )
    row = issued.row
    token = NewToken(
        id=row.id,
        name=row.name,
        token=issued.token,
        hint=row.hint,
        scopes=row.scopes,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
    return Response(token, headers=NO_STORE)


@get(PATH, tags=["tokens"], security=BEARER, opt=OWN, responses=problems(403))
async def list_tokens(principal: Principal, session: AsyncSession) -> Response[TokenList]:
    """List the caller's tokens, the newest first; expired ones go with time."""
    rows = await access_tokens.of_user(session, principal.user_id)
    return Response(TokenList(items=[Token.of(row) for row in rows]), headers=NO_STORE)


@get(f"{PATH}/scopes", tags=["tokens"], security=BEARER, opt=OWN, responses=problems(403))
async def list_scopes(principal: Principal) -> ScopeList:  # noqa: ARG001 - whoever asks is logged in
    """List what a token may be allowed."""
    return ScopeList(items=[Scope(scope=scope, description=description) for scope, description in SCOPES.items()])


@delete(f"{PATH}/{{token_id:uuid}}", tags=["tokens"], security=BEARER, opt=OWN, responses=problems(403))
async def revoke_token(
    token_id: UUID, principal: Principal, session: AsyncSession, programs: AccessTokens, origin: Origin
) -> None:
    """End a token, and within two seconds everything that still goes on with it."""
    await programs.revoke(session, principal.user_id, token_id, origin=origin)


@post("/internal/tokens/exchange", status_code=200, include_in_schema=False)
async def exchange_token(data: ExchangeRequest, programs: AccessTokens) -> Response[Exchange]:
    """For the gateway, which lets no client in here: an access token of a few minutes for a personal one."""
    exchanged = await programs.exchange(data.token)
    answer = Exchange(access_token=exchanged.access_token, expires_in=exchanged.expires_in)
    return Response(answer, headers=NO_STORE)


HANDLERS = [create_token, list_tokens, list_scopes, revoke_token, exchange_token]
