"""The gateway, wired: nothing connects here, everything connects in the lifespan."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig

from common.app import Metrics, in_background
from common.denials import Denials
from common.http import DocumentedErrors, handle_error
from common.key_set import KeySet
from common.security import TokenVerifier
from gateway import docs, health
from gateway.docs import Documents
from gateway.edge import Edge
from gateway.exchange import Exchange
from gateway.feed import Feed
from gateway.identity import Identities
from gateway.limits import Limiter
from gateway.proxy import Forwarder
from gateway.schemas import event_schema
from gateway.settings import GatewaySettings
from gateway.stream import stream


def create_app(settings: GatewaySettings) -> Edge:
    """Make the gateway."""
    services = list(settings.services)
    forwarder = Forwarder(settings)
    limiter = Limiter(settings.redis_url)
    feed = Feed(settings)
    denials = Denials(settings, "gateway")
    issuer, keys = settings.token_issuer, KeySet(settings.auth_url)
    identities = Identities(
        TokenVerifier(issuer, settings.token_audience, keys, denials),
        TokenVerifier(issuer, settings.token_admin_audience, keys, denials),
        Exchange(settings, forwarder, limiter),
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        await forwarder.open()
        try:
            async with in_background(app, [("limits", limiter.watch), ("feed", feed.run), ("denials", denials.run)]):
                yield
        finally:
            await forwarder.close()
            await limiter.close()

    def own_document() -> dict[str, Any]:
        return local.openapi_schema.to_schema()

    local = Litestar(
        route_handlers=[
            stream,
            event_schema,
            *docs.ROUTES,
            *health.routes(services, forwarder, limiter, feed),
            Metrics,
        ],
        lifespan=[lifespan],
        exception_handlers={Exception: handle_error},
        plugins=[DocumentedErrors()],
        openapi_config=OpenAPIConfig(title="Gateway", version="1"),
        state=State(
            {
                "settings": settings,
                "forwarder": forwarder,
                "feed": feed,
                "denials": denials,
                "documents": Documents(forwarder, services, settings.gateway_public_url),
                "own_document": own_document,
            }
        ),
        logging_config=None,
    )
    return Edge(settings, local=local, limiter=limiter, identities=identities, forwarder=forwarder, feed=feed)
