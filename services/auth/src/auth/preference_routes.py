"""Preferences over HTTP."""

from litestar import Response, get, put
from litestar.datastructures import State
from sqlalchemy.ext.asyncio import AsyncSession

from auth import preferences
from auth.favourites import Favourites
from auth.preference_schemas import PreferencesInput, PreferencesView, TasteInput
from common.http import BEARER
from common.security import Principal

NO_STORE = {"Cache-Control": "no-store"}
REFUSED = "422: also `unknown_favorite`. 503: also `favorites_unknown`."


async def provide_favourites(state: State) -> Favourites:
    """Litestar dependency ``favourites``."""
    favourites: Favourites = state.favourites
    return favourites


@get("/api/v1/users/me/preferences", tags=["preferences"], security=BEARER, summary="Read your preferences")
async def read_preferences(principal: Principal, session: AsyncSession) -> Response[PreferencesView]:
    """Show the caller's preferences."""
    return _shown(PreferencesView.of(await preferences.read(session, principal.user_id)))


@put(
    "/api/v1/users/me/preferences",
    tags=["preferences"],
    security=BEARER,
    summary="Change your preferences",
    description=f"What is left out stays; null takes a favourite or the quiet hours away. {REFUSED}",
)
async def change_preferences(
    data: PreferencesInput, principal: Principal, session: AsyncSession, favourites: Favourites
) -> Response[PreferencesView]:
    """Change the caller's preferences."""
    return _shown(PreferencesView.of(await preferences.change(session, principal.user_id, data, favourites)))


@put(
    "/api/v1/auth/preferences",
    tags=["preferences"],
    security=BEARER,
    summary="Change your favourites and theme",
    description=f"As `PUT /api/v1/users/me/preferences`, of which it takes these three. {REFUSED}",
)
async def change_taste(
    data: TasteInput, principal: Principal, session: AsyncSession, favourites: Favourites
) -> Response[PreferencesView]:
    """Change the caller's favourites and theme."""
    changed = await preferences.change(session, principal.user_id, data.preferences(), favourites)
    return _shown(PreferencesView.of(changed))


def _shown(view: PreferencesView) -> Response[PreferencesView]:
    return Response(view, headers=NO_STORE)


HANDLERS = [read_preferences, change_preferences, change_taste]
