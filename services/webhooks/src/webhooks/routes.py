"""The HTTP interface: read the request, call one use case, show the result."""

from typing import Annotated
from uuid import UUID

from litestar import Router, delete, get, patch, post
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.types import ControllerRouterHandler
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock
from common.http import BEARER, problems
from common.security import SESSION_ONLY, Principal
from webhooks import holdings, queries
from webhooks.domain import DeliveryStatus
from webhooks.holdings import Holdings
from webhooks.schemas import (
    DeliveryPage,
    DeliveryView,
    EndpointCreated,
    EndpointInput,
    EndpointList,
    EndpointPatch,
    EndpointView,
    NewSecret,
)
from webhooks.service import Endpoints

Skip = Annotated[int, Parameter(ge=0, le=1_000_000)]
Limit = Annotated[int, Parameter(ge=1, le=100)]
Status = Annotated[DeliveryStatus | None, Parameter(description="Only deliveries that stand so")]


async def provide_endpoints(state: State) -> Endpoints:
    """Litestar dependency ``endpoints``."""
    endpoints: Endpoints = state.endpoints
    return endpoints


@post(
    "/",
    security=BEARER,
    responses=problems(404, 409),
    summary="Register an endpoint",
    description=(
        "Events that happen from now on are sent to it. The secret is shown here and never again. "
        "422: `url_refused`, `duplicate_subject`, `league_without_leaderboard`. 404: `unknown_league`, also for a "
        "private one that you are not in. 409: `too_many_endpoints`."
    ),
)
async def create_endpoint(
    data: EndpointInput, session: AsyncSession, principal: Principal, endpoints: Endpoints
) -> EndpointCreated:
    """Register an endpoint."""
    return EndpointCreated.with_secret(*await endpoints.create(session, principal.user_id, data))


@get("/", security=BEARER, summary="List your endpoints", description="The oldest first.")
async def list_endpoints(session: AsyncSession, principal: Principal) -> EndpointList:
    """List the caller's endpoints."""
    rows = await queries.endpoints_of(session, principal.user_id)
    return EndpointList(items=[EndpointView.of(row) for row in rows])


@get("/{endpoint_id:uuid}", security=BEARER, summary="Read an endpoint", description="404: `unknown_endpoint`.")
async def read_endpoint(endpoint_id: UUID, session: AsyncSession, principal: Principal) -> EndpointView:
    """Show one endpoint."""
    return EndpointView.of(await queries.endpoint_for(session, endpoint_id, principal.user_id))


@patch(
    "/{endpoint_id:uuid}",
    security=BEARER,
    summary="Change an endpoint",
    description=(
        "What is left out stays. A new URL holds for what is waiting too. 404: `unknown_endpoint`, `unknown_league`. "
        "422: `url_refused`, `duplicate_subject`, `league_without_leaderboard`."
    ),
)
async def change_endpoint(
    endpoint_id: UUID, data: EndpointPatch, session: AsyncSession, principal: Principal, endpoints: Endpoints
) -> EndpointView:
    """Change one endpoint."""
    return EndpointView.of(await endpoints.change(session, principal.user_id, endpoint_id, data))


@delete(
    "/{endpoint_id:uuid}",
    security=BEARER,
    summary="Remove an endpoint",
    description="With its log; what waits for it is never sent. 404: `unknown_endpoint`.",
)
async def remove_endpoint(endpoint_id: UUID, session: AsyncSession, principal: Principal, endpoints: Endpoints) -> None:
    """Remove one endpoint."""
    await endpoints.remove(session, principal.user_id, endpoint_id)


@post(
    "/{endpoint_id:uuid}/secret",
    status_code=200,
    security=BEARER,
    summary="Rotate the secret",
    description=(
        "For 24 hours every request is signed with both, the new one first; one that was rotated before ends at once. "
        "404: `unknown_endpoint`."
    ),
)
async def rotate_secret(
    endpoint_id: UUID, session: AsyncSession, principal: Principal, endpoints: Endpoints
) -> NewSecret:
    """Make a new secret."""
    endpoint, secret = await endpoints.rotate(session, principal.user_id, endpoint_id)
    return NewSecret(secret=secret, old_secret_until=endpoint.old_secret_until)


@post(
    "/{endpoint_id:uuid}/enable",
    status_code=200,
    security=BEARER,
    summary="Enable an endpoint",
    description="Its failures are forgotten. What happened meanwhile is not sent. 404: `unknown_endpoint`.",
)
async def enable_endpoint(
    endpoint_id: UUID, session: AsyncSession, principal: Principal, endpoints: Endpoints
) -> EndpointView:
    """Send again."""
    return EndpointView.of(await endpoints.enable(session, principal.user_id, endpoint_id))


@post(
    "/{endpoint_id:uuid}/disable",
    status_code=200,
    security=BEARER,
    summary="Disable an endpoint",
    description=(
        "Nothing is sent until it is enabled; a delivery whose time comes meanwhile fails with `endpoint_disabled`. "
        "404: `unknown_endpoint`."
    ),
)
async def disable_endpoint(
    endpoint_id: UUID, session: AsyncSession, principal: Principal, endpoints: Endpoints
) -> EndpointView:
    """Send no more."""
    return EndpointView.of(await endpoints.disable(session, principal.user_id, endpoint_id))


@post(
    "/{endpoint_id:uuid}/test",
    status_code=202,
    security=BEARER,
    responses=problems(409, 429),
    summary="Send a test event",
    description=(
        "A `paddock.webhook.test.v1`, on its way at once; read the delivery to see what became of it. "
        "404: `unknown_endpoint`. 409: `endpoint_disabled`. 429: `too_many_tests`."
    ),
)
async def send_test(
    endpoint_id: UUID, session: AsyncSession, principal: Principal, endpoints: Endpoints
) -> DeliveryView:
    """Send a test event."""
    return DeliveryView.of(await endpoints.test(session, principal.user_id, endpoint_id))


@get(
    "/{endpoint_id:uuid}/deliveries",
    security=BEARER,
    summary="Read the delivery log",
    description="The newest first, with every attempt; kept for 30 days. 404: `unknown_endpoint`.",
)
async def list_deliveries(
    endpoint_id: UUID,
    session: AsyncSession,
    principal: Principal,
    status: Status = None,
    skip: Skip = 0,
    limit: Limit = 20,
) -> DeliveryPage:
    """List an endpoint's deliveries."""
    await queries.endpoint_for(session, endpoint_id, principal.user_id)
    rows, total = await queries.deliveries_of(session, endpoint_id, status=status, skip=skip, limit=limit)
    return DeliveryPage(items=[DeliveryView.of(row) for row in rows], total=total, skip=skip, limit=limit)


@get(
    "/{endpoint_id:uuid}/deliveries/{delivery_id:uuid}",
    security=BEARER,
    summary="Read a delivery",
    description="404: `unknown_endpoint`, `unknown_delivery`.",
)
async def read_delivery(
    endpoint_id: UUID, delivery_id: UUID, session: AsyncSession, principal: Principal
) -> DeliveryView:
    """Show one delivery."""
    await queries.endpoint_for(session, endpoint_id, principal.user_id)
    return DeliveryView.of(await queries.delivery_for(session, endpoint_id, delivery_id))


@post(
    "/{endpoint_id:uuid}/deliveries/{delivery_id:uuid}/redeliver",
    status_code=202,
    security=BEARER,
    responses=problems(409),
    summary="Deliver again",
    description=(
        "One that was delivered or has failed, with the same `webhook-id`. "
        "404: `unknown_endpoint`, `unknown_delivery`. 409: `delivery_pending`, `endpoint_disabled`."
    ),
)
async def redeliver(
    endpoint_id: UUID, delivery_id: UUID, session: AsyncSession, principal: Principal, endpoints: Endpoints
) -> DeliveryView:
    """Start a delivery from the beginning."""
    return DeliveryView.of(await endpoints.redeliver(session, principal.user_id, endpoint_id, delivery_id))


@get("/internal/export", security=BEARER, include_in_schema=False, opt={"scope": SESSION_ONLY})
async def export_own(session: AsyncSession, principal: Principal) -> Holdings:
    """Give the caller everything that is kept here about them; `auth` asks for it with the caller's own token."""
    return await holdings.of(session, principal.user_id, clock.now())


ROUTES: list[ControllerRouterHandler] = [
    export_own,
    Router(
        path="/api/v1/webhooks",
        route_handlers=[
            create_endpoint,
            list_endpoints,
            read_endpoint,
            change_endpoint,
            remove_endpoint,
            rotate_secret,
            enable_endpoint,
            disable_endpoint,
            send_test,
            list_deliveries,
            read_delivery,
            redeliver,
        ],
        tags=["webhooks"],
    ),
]
