"""The HTTP surface of `auth`."""

from dataclasses import dataclass
from typing import Annotated, Any, cast
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import ClientException, SerializationException
from litestar.openapi.spec import Operation, RequestBody
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncSession

from auth import (
    access_token_routes,
    admin_routes,
    admin_user_routes,
    avatar_routes,
    export_routes,
    preference_routes,
    profile_routes,
)
from auth.keys import SigningKeys
from auth.registration_keys import KEY, KEY_LENGTH, RegistrationKeys
from auth.schemas import Credentials, Jwk, JwkSet, RefreshRequest, Registration, Tokens, User
from auth.service import Accounts, Grant
from common.http import problems

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
FORM_FIELDS = 16
NO_STORE = {"Cache-Control": "no-store"}
JWKS_SECONDS = 60
"""How long a cache may keep the key set; a withdrawn key is refused everywhere after that."""


async def provide_accounts(state: State) -> Accounts:
    """Litestar dependency ``accounts``."""
    accounts: Accounts = state.accounts
    return accounts


class FormOrJson(Request[Any, Any, State]):
    """A request whose body may be a form as well as JSON.

    The form is read here because Litestar caches parsed forms by their bytes, and these hold passwords.
    """

    async def json(self) -> Any:  # noqa: ANN401 - as Litestar has it
        """Return the body's fields."""
        kind, _ = self.content_type
        if kind == JSON:
            return await super().json()
        if kind != FORM:
            raise ClientException(status_code=415, detail=f"Send {JSON} or {FORM}.")
        return form_fields(await self.body())


def form_fields(body: bytes) -> dict[str, str | list[str]]:
    """Parse a form; a field that comes twice becomes a list, which no field of ours may be."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FORM_FIELDS, errors="strict")
    except ValueError as error:
        raise SerializationException("the form cannot be read") from error
    fields: dict[str, str | list[str]] = {}
    for name, value in pairs:
        fields[name] = [value] if name in fields else value
    return fields


@dataclass
class FormOrJsonOperation(Operation):
    """Documents that the body may be a form as well as JSON."""

    def __post_init__(self) -> None:
        """Offer the JSON body's schema for the form too."""
        if isinstance(self.request_body, RequestBody):
            self.request_body.content[FORM] = self.request_body.content[JSON]


IdempotencyKey = Annotated[
    str | None,
    Parameter(
        header="Idempotency-Key",
        min_length=KEY_LENGTH[0],
        max_length=KEY_LENGTH[1],
        pattern=KEY,
        description="A UUID. The same request with the same key gets the same answer for 24 hours",
    ),
]


@post("/api/v1/auth/register", tags=["accounts"], responses=problems(409))
async def register(
    data: Registration,
    session: AsyncSession,
    accounts: Accounts,
    state: State,
    idempotency_key: IdempotencyKey = None,
) -> Response[User]:
    """Open an account."""

    async def opened(transaction: AsyncSession) -> bytes:
        user = await accounts.register(
            transaction, username=data.username, email=data.email, password=data.password, full_name=data.full_name
        )
        return msgspec.json.encode(User.of(user))

    if idempotency_key is None:
        answer = await opened(session)
    else:
        repeats: RegistrationKeys = state.registration_keys
        answer = await repeats.once(idempotency_key, msgspec.json.encode(data).decode(), opened)
    return Response(cast("User", answer), media_type=JSON, headers=NO_STORE)


@post(
    "/api/v1/auth/login",
    status_code=200,
    tags=["accounts"],
    responses=problems(401, 415),
    request_class=FormOrJson,
    operation_class=FormOrJsonOperation,
)
async def login(data: Credentials, accounts: Accounts) -> Response[Tokens]:
    """Start a session by username or e-mail address, with JSON or with the form of OAuth2's password grant."""
    return _tokens(await accounts.log_in(data.username, data.password))


@post("/api/v1/auth/refresh", status_code=200, tags=["accounts"], responses=problems(401))
async def refresh(data: RefreshRequest, accounts: Accounts) -> Response[Tokens]:
    """Exchange a refresh token for a new pair; the old one is used up, and using it again ends the session."""
    return _tokens(await accounts.refresh(data.refresh_token))


@get("/.well-known/jwks.json", tags=["keys"])
async def jwks(state: State) -> Response[JwkSet]:
    """Publish the keys that access tokens are verified with."""
    keys: SigningKeys = state.signing_keys
    published = msgspec.convert(await keys.published(), list[Jwk])
    return Response(JwkSet(keys=published), headers={"Cache-Control": f"public, max-age={JWKS_SECONDS}"})


def _tokens(grant: Grant) -> Response[Tokens]:
    tokens = Tokens(
        access_token=grant.access_token,
        refresh_token=grant.refresh_token,
        token_type="bearer",  # noqa: S106 - a kind
        expires_in=grant.expires_in,
    )
    return Response(tokens, headers=NO_STORE)


HANDLERS = [
    *(register, login, refresh, jwks),
    *profile_routes.HANDLERS,
    *preference_routes.HANDLERS,
    *export_routes.HANDLERS,
    *access_token_routes.HANDLERS,
    *avatar_routes.HANDLERS,
    *admin_routes.HANDLERS,
    *admin_user_routes.HANDLERS,
]
