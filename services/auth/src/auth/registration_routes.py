"""Registration over HTTP."""

from typing import Annotated, cast

import msgspec
from litestar import Response, post
from litestar.datastructures import State
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncSession

from auth.origin import Origin
from auth.registration import Newcomer, Registrations
from auth.registration_keys import KEY, KEY_LENGTH, RegistrationKeys
from auth.schemas import Registration, User
from common.http import problems

JSON = "application/json"
NO_STORE = {"Cache-Control": "no-store"}

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


async def provide_registrations(state: State) -> Registrations:
    """Litestar dependency ``registrations``."""
    registrations: Registrations = state.registrations
    return registrations


@post(
    "/api/v1/auth/register",
    tags=["accounts"],
    responses=problems(409, 429),
    summary="Open an account",
    description=(
        "409: `username_taken`, `email_taken`. Where accounts are hidden, an address that somebody has is answered as "
        "any other. 429: `rate_limited`."
    ),
)
async def register(
    data: Registration,
    session: AsyncSession,
    registrations: Registrations,
    state: State,
    origin: Origin,
    idempotency_key: IdempotencyKey = None,
) -> Response[User]:
    """Open an account."""
    await registrations.admit(origin)
    newcomer = Newcomer(username=data.username, email=data.email, password=data.password, full_name=data.full_name)

    async def opened(transaction: AsyncSession) -> bytes:
        return msgspec.json.encode(User.of(await registrations.register(transaction, newcomer, origin)))

    if idempotency_key is None:
        answer = await opened(session)
    else:
        repeats: RegistrationKeys = state.registration_keys
        answer = await repeats.once(idempotency_key, msgspec.json.encode(data).decode(), opened)
    return Response(cast("User", answer), media_type=JSON, headers=NO_STORE)


HANDLERS = [register]
