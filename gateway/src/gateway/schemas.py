"""`GET /schemas/events/NAME/vN.json`: the JSON Schemas that ``ce-dataschema`` names, for subscribers."""

import asyncio
from functools import cache

from litestar import Response, get

from common.contracts.schemas import published
from common.errors import NotFoundError

CACHE = {"Cache-Control": "public, max-age=3600"}


@get("/schemas/events/{name:str}/{file:str}", include_in_schema=False)
async def event_schema(name: str, file: str) -> Response[bytes]:
    """Give the schema of one major version of an event."""
    schemas = await asyncio.to_thread(_schemas)  # reads sources, the first time
    body = schemas.get((name, file.removesuffix(".json"))) if file.endswith(".json") else None
    if body is None:
        raise NotFoundError("no_schema", "No event has this name and version; docs/events.md lists them.")
    return Response(body, media_type="application/schema+json", headers=CACHE)


@cache
def _schemas() -> dict[tuple[str, str], bytes]:
    return published()
