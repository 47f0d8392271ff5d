"""Forgotten passwords over HTTP."""

from litestar import Response, post
from litestar.datastructures import State
from sqlalchemy.ext.asyncio import AsyncSession

from auth.email_schemas import ASKED, AddressInput, Asked, NewPassword
from auth.emails import Emails
from auth.mails import Request
from auth.origin import Origin
from auth.recovery import Recovery
from common.http import problems

NO_STORE = {"Cache-Control": "no-store"}


async def provide_recovery(state: State) -> Recovery:
    """Litestar dependency ``recovery``."""
    recovery: Recovery = state.recovery
    return recovery


@post(
    "/api/v1/auth/forgot-password",
    status_code=200,
    tags=["letters"],
    responses=problems(429),
    summary="Ask for a letter with a link to a new password",
    description="The answer is the same whether anybody has the address or not. 429: `rate_limited`.",
)
async def forgot_password(data: AddressInput, session: AsyncSession, emails: Emails, origin: Origin) -> Response[Asked]:
    """Take a request for a letter."""
    await emails.ask(session, Request.RESET, data.email, origin)
    return Response(ASKED, headers=NO_STORE)


@post(
    "/api/v1/auth/reset-password",
    status_code=204,
    tags=["letters"],
    responses=problems(409, 429),
    summary="Choose a new password",
    description=(
        "With the token of the link in the letter. All sessions and personal access tokens end, a lock is lifted, and "
        "the address counts as proved. A password that is refused leaves the link good. "
        "409: `invalid_link`. 429: `rate_limited`. 503: `busy`."
    ),
)
async def reset_password(data: NewPassword, emails: Emails, recovery: Recovery, origin: Origin) -> None:
    """Use a link."""
    await emails.spend(origin)
    await recovery.reset(data.token, data.password, origin)


HANDLERS = [forgot_password, reset_password]
