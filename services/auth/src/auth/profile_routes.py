"""Profiles over HTTP: one's own, and those of others as far as they show themselves."""

from typing import Annotated, Any

from litestar import Request, Response, get, patch, put
from litestar.datastructures import State
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncSession

from auth import etags, limits, people, profile
from auth.models import User
from auth.origin import Origin
from auth.profile_schemas import Account, FoundUser, FoundUsers, ProfileInput, PublicProfile
from auth.settings import AuthSettings
from common.http import BEARER, problems
from common.security import Principal, provide_principal

NO_STORE = {"Cache-Control": "no-store"}
IfMatch = Annotated[
    str | None, Parameter(header="If-Match", max_length=200, description="An `ETag`: refuse when it is another by now")
]
Username = Annotated[str, Parameter(max_length=50)]
Term = Annotated[str, Parameter(query="q", min_length=2, max_length=100, description="A part of a name")]
Limit = Annotated[int, Parameter(ge=1, le=50)]
CHANGES = (
    "What is left out stays; null takes the full name or the telephone number away. The address and the password have "
    "operations of their own. 409: `username_taken`, `username_changed_recently` with `Retry-After`, `phone_taken`. "
    "412: `stale_version`. 429: `rate_limited`."
)


async def provide_visitor(request: Request[Any, Any, State]) -> Principal | None:
    """Litestar dependency ``visitor``: the caller, or nobody when there is no token; one that is there must be good."""
    return await provide_principal(request) if "authorization" in request.headers else None


@get(["/api/v1/auth/me", "/api/v1/users/me"], tags=["accounts"], security=BEARER, summary="Read your account")
async def me(principal: Principal, session: AsyncSession) -> Response[Account]:
    """Show the caller's own account."""
    return await _shown(session, await profile.own(session, principal.user_id))


@put(
    "/api/v1/users/me",
    tags=["accounts"],
    security=BEARER,
    responses=problems(409, 412, 429),
    summary="Change your account",
    description=CHANGES,
)
async def change_me(
    data: ProfileInput,
    principal: Principal,
    session: AsyncSession,
    state: State,
    origin: Origin,
    if_match: IfMatch = None,
) -> Response[Account]:
    """Change the caller's account."""
    return await _changed(data, principal, session, state, origin, if_match)


@patch(
    "/api/v1/users/me",
    tags=["accounts"],
    security=BEARER,
    responses=problems(409, 412, 429),
    summary="Change a part of your account",
    description=CHANGES,
)
async def patch_me(
    data: ProfileInput,
    principal: Principal,
    session: AsyncSession,
    state: State,
    origin: Origin,
    if_match: IfMatch = None,
) -> Response[Account]:
    """Change the caller's account; for clients that say PATCH."""
    return await _changed(data, principal, session, state, origin, if_match)


async def _changed(
    data: ProfileInput,
    principal: Principal,
    session: AsyncSession,
    state: State,
    origin: Origin,
    if_match: str | None,
) -> Response[Account]:
    settings: AuthSettings = state.settings
    await limits.take_apart(state.database, "profile_account", str(principal.user_id), settings.limit_profile_account)
    user = await profile.update(session, principal.user_id, data, settings=settings, if_match=if_match, origin=origin)
    return await _shown(session, user)


async def _shown(session: AsyncSession, user: User) -> Response[Account]:
    account = Account.of(user, await people.avatar_url(session, user.id))
    return Response(account, headers=NO_STORE | {"ETag": etags.tag_of(user.version)})


@get(
    "/api/v1/users/{username:str}/profile",
    tags=["people"],
    responses=problems(401, 403),
    summary="Read somebody's profile",
    description=(
        "A public one shows to everybody, one for leagues to members of a common league, a private one to its owner. "
        "Teams, points and ranks are at the addresses of `shared_leagues`. 404: `unknown_user`, also when it is hidden."
    ),
)
async def read_profile(username: Username, visitor: Principal | None, session: AsyncSession) -> Response[PublicProfile]:
    """Show somebody."""
    viewer = visitor.user_id if visitor else None
    person, shared, show_email = await profile.shown(session, username, viewer)
    return Response(PublicProfile.of(person, shared, show_email=show_email), headers=NO_STORE)


@get(
    "/api/v1/users/search",
    tags=["people"],
    security=BEARER,
    responses=problems(429),
    summary="Find people",
    description=(
        "By a part of the username or of the full name, in any case; a term without three letters or digits in a row "
        "must begin the username or a word of the name. Whoever does not show themselves to you is not found, and "
        "nobody is found by an address. 429: `rate_limited`."
    ),
)
async def search_users(
    q: Term, principal: Principal, session: AsyncSession, state: State, limit: Limit = 10
) -> Response[FoundUsers]:
    """Find people."""
    settings: AuthSettings = state.settings
    await limits.take(session, "search_account", str(principal.user_id), settings.limit_search_account)
    found = await people.search(session, profile.search_term(q), principal.user_id, limit)
    return Response(FoundUsers(items=[FoundUser.of(person) for person in found]), headers=NO_STORE)


HANDLERS = [me, change_me, patch_me, read_profile, search_users]
