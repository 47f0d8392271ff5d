"""Where pictures lie: a folder or a bucket of S3, behind one interface.

The library that speaks to both writes an object whole or not at all. Names are random and made here, so no client's
word is ever part of a path.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, S3Store

from auth.settings import AuthSettings
from common.errors import UnavailableError
from common.log import get_logger

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

log = get_logger(__name__)

NAME_BYTES: Final = 16
SUFFIX: Final = ".webp"
YOUNG: Final = timedelta(hours=1)
"""An object younger than this may belong to an upload that has not committed yet."""
PAGE: Final = 500
RETRY_SECONDS: Final = 2

_CLIENT: "ClientConfig" = {"connect_timeout": timedelta(seconds=2), "timeout": timedelta(seconds=5)}
_RETRIES: "RetryConfig" = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=6),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}

Wanted = Callable[[Collection[str]], Awaitable[Collection[str]]]
"""Tells which of some names are still of use."""


class Objects:
    """Keeps small objects under random names. Raises `UnavailableError` when the store does not answer."""

    def __init__(self, settings: AuthSettings) -> None:
        self._store = _opened(settings)

    async def add(self, content: bytes) -> str:
        """Store an object and return its name; it is there whole, or not at all."""
        name = secrets.token_hex(NAME_BYTES) + SUFFIX
        try:
            await obstore.put_async(self._store, name, content, use_multipart=False)
        except (BaseError, OSError) as error:
            raise _away(error) from error
        return name

    async def read(self, name: str) -> bytes | None:
        """Return an object, or nothing when there is none of that name."""
        try:
            found = await obstore.get_async(self._store, name)
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _away(error) from error

    async def remove(self, name: str) -> None:
        """Remove an object; one that is not there is removed already."""
        try:
            await obstore.delete_async(self._store, name)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise _away(error) from error

    async def names(self, *, before: datetime) -> AsyncIterator[list[str]]:
        """Yield the names of the objects stored before then, in pages."""
        pages = obstore.list(self._store, chunk_size=PAGE)
        try:
            async for page in pages:
                yield [entry["path"] for entry in page if entry["last_modified"] < before]
        except (BaseError, OSError) as error:
            raise _away(error) from error

    def remove_unfinished(self, *, before: datetime) -> int:
        """Remove what a process that was killed while writing left in the folder; a bucket has no such thing."""
        if not isinstance(self._store, LocalStore) or self._store.prefix is None:
            return 0
        left = [path for path in self._store.prefix.glob(f"*{SUFFIX}#*") if path.stat().st_mtime < before.timestamp()]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)


async def sweep(objects: Objects, wanted: Wanted, *, now: datetime, limit: int) -> int:
    """Remove up to ``limit`` objects that nobody wants any more and return how many they were.

    They are left by a process that died between its commit and the removal of the old picture, by a store that was
    away just then, and by the erasure of an account.
    """
    swept = objects.remove_unfinished(before=now - YOUNG)
    async for names in objects.names(before=now - YOUNG):
        kept = set(await wanted(names)) if names else set()
        for name in names:
            if name not in kept and swept < limit:
                await objects.remove(name)
                swept += 1
        if swept >= limit:
            break
    return swept


def _opened(settings: AuthSettings) -> "ObjectStore":
    """Make the client of what ``AUTH_OBJECT_STORE_URL`` names; nothing connects yet."""
    url = urlsplit(settings.object_store_url)
    if url.scheme == "memory":
        return MemoryStore()
    if url.scheme == "file":
        return LocalStore(Path(url2pathname(url.path)), mkdir=True)
    endpoint = settings.s3_endpoint
    config: S3Config = {"region": settings.s3_region}
    if endpoint:
        config["endpoint"] = endpoint
    if settings.s3_access_key_id and settings.s3_secret_access_key:
        config["access_key_id"] = settings.s3_access_key_id
        config["secret_access_key"] = settings.s3_secret_access_key
    return S3Store(
        url.netloc,
        prefix=url.path.strip("/") or None,
        config=config,
        client_options={**_CLIENT, "allow_http": bool(endpoint and endpoint.startswith("http://"))},
        retry_config=_RETRIES,
    )


def _away(error: Exception) -> UnavailableError:
    """Translate; what the library says names buckets and folders and is for the log."""
    log.warning("object store failed", error=str(error).partition("\n")[0])
    detail = "Pictures cannot be reached right now. Try again shortly."
    return UnavailableError("pictures_unavailable", detail, retry_after=RETRY_SECONDS)
