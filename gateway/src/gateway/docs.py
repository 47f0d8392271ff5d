"""The documentation: ``/openapi.json`` for all services, and ``/docs``, a page that needs nothing from elsewhere.

Swagger UI's files come out of the installed package ``aiohttp-swagger3``, which is never imported: a deployment
without internet shows the same page.
"""

import asyncio
import time
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from litestar import Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from common.errors import NotFoundError
from common.log import get_logger
from gateway.merging import Document, merge
from gateway.proxy import Forwarder
from gateway.routes import GATEWAY, TABLE

log = get_logger(__name__)

DOCUMENT_PATH = "/schema/openapi.json"
DOCUMENT_BYTES = 4 * 1024 * 1024
FETCH_SECONDS = 2.0
KEEP_SECONDS = 60.0
KEEP_INCOMPLETE_SECONDS = 5.0
"""A document that lacks a service is soon asked for again."""

PACKAGE, FOLDER = "aiohttp_swagger3", "swagger_ui"
ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Paddock API</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
START = """window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayOperationId: true,
  validatorUrl: null
});
"""


class Documents:
    """Fetches the services' documents and keeps the merged one for a while."""

    def __init__(self, forwarder: Forwarder, services: list[str], url: str) -> None:
        self._forwarder = forwarder
        self._services = services
        self._url = url
        self._known: dict[str, Document] = {}
        """The last document of each service, which outlives the service."""
        self._merged = b""
        self._stale_at = float("-inf")
        self._lock = asyncio.Lock()

    async def merged(self, own: Callable[[], Document]) -> bytes:
        """Return the merged document; ``own`` gives the gateway's. Callers at the same time share one fetch."""
        if time.monotonic() >= self._stale_at:
            async with self._lock:
                if time.monotonic() >= self._stale_at:
                    await self._renew(own())
        return self._merged

    async def _renew(self, own: Document) -> None:
        fetched = await asyncio.gather(*(self._fetch(service) for service in self._services))
        missing = [service for service, document in zip(self._services, fetched, strict=True) if document is None]
        self._known |= {
            service: document for service, document in zip(self._services, fetched, strict=True) if document is not None
        }
        documents = {service: self._known[service] for service in self._services if service in self._known}
        self._merged = msgspec.json.encode(merge({**documents, GATEWAY: own}, missing, TABLE, self._url))
        self._stale_at = time.monotonic() + (KEEP_INCOMPLETE_SECONDS if missing else KEEP_SECONDS)

    async def _fetch(self, service: str) -> Document | None:
        url = self._forwarder.url(service, DOCUMENT_PATH)
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        try:
            async with self._forwarder.session.get(url, timeout=timeout, allow_redirects=False) as response:
                response.raise_for_status()
                body = await response.content.read(DOCUMENT_BYTES)
                while not response.content.at_eof() and len(body) < DOCUMENT_BYTES:
                    body += await response.content.read(DOCUMENT_BYTES)
                return msgspec.json.decode(body, type=dict[str, Any])
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("document not fetched", upstream=service, error=repr(error))
            return None


@get("/openapi.json", include_in_schema=False)
async def openapi(state: State) -> Response[bytes]:
    """Give the merged document."""
    documents: Documents = state.documents
    return Response(await documents.merged(state.own_document), media_type="application/json")


@get("/docs", include_in_schema=False)
async def page() -> Response[str]:
    """Show the document as a page that can call the API."""
    return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY})


@get("/docs/{asset:str}", include_in_schema=False)
async def page_asset(asset: str) -> Response[bytes]:
    """Give one of the page's files."""
    headers = {"Cache-Control": "public, max-age=86400"}
    if asset == "start.js":
        return Response(START.encode(), media_type="text/javascript", headers=headers)
    if asset not in ASSETS:
        raise NotFoundError("no_asset", "The page has no such file.")
    return Response(await asyncio.to_thread(asset_bytes, asset), media_type=ASSETS[asset], headers=headers)


@cache
def asset_bytes(name: str) -> bytes:
    """Read a file of Swagger UI, once."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise NotFoundError("no_asset", "The files of the page are not installed.")
    return (Path(spec.submodule_search_locations[0]) / FOLDER / name).read_bytes()


ROUTES: list[HTTPRouteHandler] = [openapi, page, page_asset]
