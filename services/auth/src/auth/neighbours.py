"""What other services hold about somebody, asked with that person's own token: they give nobody's but the caller's."""

import asyncio

import httpx
import msgspec

from auth.settings import AuthSettings
from common.errors import UnavailableError
from common.log import get_logger

log = get_logger(__name__)

PATH = "/internal/export"
SECONDS = 6.0
RETRY_SECONDS = 30
MOST_BYTES = 64 * 1024 * 1024


async def holdings(settings: AuthSettings, token: str) -> dict[str, msgspec.Raw]:
    """Return what each service holds, as its JSON; raise `UnavailableError` unless every one of them answers."""
    urls = {"leagues": settings.leagues_url, "webhooks": settings.webhooks_url}
    async with httpx.AsyncClient(timeout=SECONDS, headers={"Authorization": f"Bearer {token}"}) as client:
        answers = await asyncio.gather(*(_holding(client, name, url) for name, url in urls.items()))
    return dict(zip(urls, answers, strict=True))


async def _holding(client: httpx.AsyncClient, name: str, url: str) -> msgspec.Raw:
    try:
        async with asyncio.timeout(SECONDS), client.stream("GET", url.rstrip("/") + PATH) as response:
            response.raise_for_status()
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MOST_BYTES:
                    raise _incomplete(name)
        return msgspec.json.decode(bytes(body), type=msgspec.Raw)
    except (httpx.HTTPError, msgspec.MsgspecError, TimeoutError) as error:
        log.warning("holdings not fetched", service=name, error=repr(error))
        raise _incomplete(name) from error


def _incomplete(name: str) -> UnavailableError:
    detail = f"What {name} holds cannot be read right now, and a copy without it would not be whole. Try again later."
    return UnavailableError("export_incomplete", detail, retry_after=RETRY_SECONDS)
