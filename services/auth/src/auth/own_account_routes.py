"""The password and the end of one's own account over HTTP."""

from litestar import delete, put
from litestar.datastructures import State

from auth.origin import Origin
from auth.own_account import OwnAccount
from auth.profile_schemas import FarewellInput, PasswordInput
from common.http import BEARER, problems
from common.security import SESSION_ONLY, Principal

REFUSED = (
    "403: `wrong_password`, also `insufficient_scope` for a program's token. 409: `password_changed`. "
    "423: `account_locked` after too many wrong ones, with `Retry-After`. 429: `rate_limited`."
)


async def provide_own_account(state: State) -> OwnAccount:
    """Litestar dependency ``own_account``."""
    own_account: OwnAccount = state.own_account
    return own_account


@put(
    "/api/v1/users/me/password",
    status_code=204,
    tags=["accounts"],
    security=BEARER,
    opt={"scope": SESSION_ONLY},
    responses=problems(403, 409, 423, 429),
    summary="Change your password",
    description=f"This session goes on, every other one ends. {REFUSED}",
)
async def change_password(data: PasswordInput, principal: Principal, own_account: OwnAccount, origin: Origin) -> None:
    """Change the caller's password."""
    await own_account.change_password(principal, data.current_password, data.new_password, origin)


@delete(
    "/api/v1/users/me",
    status_code=204,
    tags=["accounts"],
    security=BEARER,
    opt={"scope": SESSION_ONLY},
    responses=problems(403, 409, 423, 429),
    summary="Delete your account",
    description=(
        "It is gone for everybody at once, and its name and address are free. For 30 days whoever runs this place can "
        f"bring it back; then everything about you is erased. {REFUSED}"
    ),
)
async def delete_me(data: FarewellInput, principal: Principal, own_account: OwnAccount, origin: Origin) -> None:
    """Delete the caller's account."""
    await own_account.leave(principal, data.current_password, origin)


HANDLERS = [change_password, delete_me]
