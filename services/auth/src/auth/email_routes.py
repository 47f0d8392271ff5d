"""Addresses over HTTP: prove one, change it, ask whether one is free."""

from typing import Annotated

from litestar import Response, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncSession

from auth.domain import EMAIL_LENGTH, USERNAME, USERNAME_LENGTH
from auth.email_schemas import ASKED, AddressInput, Asked, Free, NewEmail, TokenInput
from auth.emails import Emails
from auth.logins import Logins
from auth.mails import Request
from auth.origin import Origin
from common.http import BEARER, problems
from common.security import SESSION_ONLY, Principal

NO_STORE = {"Cache-Control": "no-store"}
Email = Annotated[str, Parameter(query="email", min_length=EMAIL_LENGTH[0], max_length=EMAIL_LENGTH[1])]
Username = Annotated[
    str, Parameter(query="username", min_length=USERNAME_LENGTH[0], max_length=USERNAME_LENGTH[1], pattern=USERNAME)
]


async def provide_emails(state: State) -> Emails:
    """Litestar dependency ``emails``."""
    emails: Emails = state.emails
    return emails


@post(
    "/api/v1/auth/request-verify-token",
    status_code=200,
    tags=["letters"],
    responses=problems(429),
    summary="Ask for the letter that proves your address once more",
    description="The answer is the same whether anybody has the address or not. 429: `rate_limited`.",
)
async def request_verification(
    data: AddressInput, session: AsyncSession, emails: Emails, origin: Origin
) -> Response[Asked]:
    """Take a request for a letter."""
    await emails.ask(session, Request.VERIFY, data.email, origin)
    return Response(ASKED, headers=NO_STORE)


@post(
    "/api/v1/auth/verify",
    status_code=204,
    tags=["letters"],
    responses=problems(409, 429),
    summary="Prove your address",
    description=(
        "With the token of the link in the letter. Access tokens say so from the next refresh on. "
        "409: `invalid_link`. 429: `rate_limited`."
    ),
)
async def verify(data: TokenInput, session: AsyncSession, emails: Emails, origin: Origin) -> None:
    """Use a link."""
    await emails.spend(origin)
    await emails.verify(session, data.token, origin)


@post(
    "/api/v1/users/me/email",
    status_code=202,
    tags=["letters"],
    security=BEARER,
    opt={"scope": SESSION_ONLY},
    responses=problems(403, 409, 423, 429),
    summary="Ask for another address",
    description=(
        "A letter goes to the new address; until the link in it is used nothing changes. 403: `wrong_password`. "
        "409: `same_email`, `email_taken` unless accounts are hidden. 423: `account_locked`. 429: `rate_limited`."
    ),
)
async def change_email(
    data: NewEmail, principal: Principal, session: AsyncSession, emails: Emails, logins: Logins, origin: Origin
) -> Response[Asked]:
    """Take a request for another address."""
    known = await logins.confirm(principal.user_id, principal.session_id, data.current_password, origin)
    await emails.ask_change(session, known, data.email, origin)
    return Response(ASKED, headers=NO_STORE)


@post(
    "/api/v1/auth/confirm-email",
    status_code=204,
    tags=["letters"],
    opt={"scope": SESSION_ONLY},
    responses=problems(401, 403, 409, 429),
    summary="Confirm your new address",
    description=(
        "With the token of the link in the letter to that address. Every other link ends, and every session but that "
        "of the access token, if one is sent. 409: `invalid_link`, `email_taken`. 429: `rate_limited`."
    ),
)
async def confirm_email(
    data: TokenInput, visitor: Principal | None, session: AsyncSession, emails: Emails, origin: Origin
) -> None:
    """Use a link."""
    await emails.spend(origin)
    await emails.confirm_change(session, data.token, visitor, origin)


@get(
    "/api/v1/auth/check-email",
    tags=["accounts"],
    responses=problems(404, 429),
    summary="Ask whether an address is free",
    description="404: `not_offered`, where accounts are hidden or nobody may ask. 429: `rate_limited`.",
)
async def check_email(email: Email, emails: Emails, origin: Origin) -> Response[Free]:
    """Tell whether nobody has an address."""
    return Response(Free(available=await emails.is_free(email, origin)), headers=NO_STORE)


@get(
    "/api/v1/auth/check-username",
    tags=["accounts"],
    responses=problems(404, 429),
    summary="Ask whether a username is free",
    description="404: `not_offered`, where nobody may ask. 429: `rate_limited`.",
)
async def check_username(username: Username, emails: Emails, origin: Origin) -> Response[Free]:
    """Tell whether nobody has a username."""
    return Response(Free(available=await emails.is_username_free(username, origin)), headers=NO_STORE)


HANDLERS = [request_verification, verify, change_email, confirm_email, check_email, check_username]
