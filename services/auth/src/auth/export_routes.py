"""The copy of somebody's data over HTTP."""

from typing import Any

from anyio import to_thread
from litestar import Request, Response, get
from litestar.datastructures import State

from auth import audit, export, limits, neighbours
from auth.audit import Actor
from auth.origin import Origin
from auth.settings import AuthSettings
from common import clock
from common.db import Database
from common.http import BEARER, problems
from common.security import SESSION_ONLY, Principal, bearer_token

ZIP = "application/zip"


@get(
    "/api/v1/users/me/export",
    tags=["accounts"],
    security=BEARER,
    opt={"scope": SESSION_ONLY},
    media_type=ZIP,
    responses=problems(403, 429),
    summary="Get a copy of your data",
    description=(
        "A zip archive with what every service holds about you; its README.txt says what is what. 429: `rate_limited`, "
        "three a day. 503: `export_incomplete` when a service is away, for a copy is whole or it is not given."
    ),
)
async def export_me(
    request: Request[Any, Any, State], principal: Principal, state: State, origin: Origin
) -> Response[bytes]:
    """Give the caller a copy of everything."""
    settings: AuthSettings = state.settings
    database: Database = state.database
    token = bearer_token(request.headers.get("authorization")) or ""
    held = await neighbours.holdings(settings, token)
    now, user_id = clock.now(), principal.user_id
    picture = await export.picture_of(database, state.objects, user_id)
    async with database.transaction() as session:
        await limits.take(session, "export_account", str(user_id), settings.limit_export_account)
        files = await export.collect(session, user_id) | held
        await audit.record(session, "data.export", actor=Actor.user(user_id), origin=origin, target=user_id)
    archive = await to_thread.run_sync(export.archive, files, picture, now)
    headers = {
        "Content-Disposition": f'attachment; filename="paddock-{user_id}-{now:%Y%m%d}.zip"',
        "Cache-Control": "no-store",
    }
    return Response(archive, media_type=ZIP, headers=headers)


HANDLERS = [export_me]
