"""The public keys of `auth`, kept fresh: a withdrawn key stops working within a minute, `auth` away stops nothing.

A set is asked for anew in the background when it ages, and by whoever needs it when it is stale. An unknown key id
makes it be fetched once; whoever sends random ones makes us ask no more often than every 10 s.
"""

import asyncio
import ssl
from functools import cache
from time import monotonic
from typing import Protocol

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from common.errors import UnavailableError
from common.log import get_logger

log = get_logger(__name__)

AGING_SECONDS = 20.0
"""From this age on a set is fetched in the background."""
STALE_SECONDS = 30.0
"""From this age on callers wait for it, unless `auth` is known to be away."""
REFETCH_SECONDS = 10.0
"""The set is fetched at most this often, whatever comes."""
RETRY_SECONDS = 1.0
"""The same after a failure, for who has no key at all."""
FETCH_SECONDS = 3.0
BELIEVED_SECONDS = 6 * 3600.0
"""With `auth` away for longer than this its keys are no longer believed."""
KEYS = 100


class KeySource(Protocol):
    """Where a verifier finds the public key of a key id."""

    changes: int
    """How often the keys have changed: what was verified before the last change is to be verified again."""

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key, or nothing when there is none of that id."""


class KeySet:
    """What ``auth_url`` serves as its keys."""

    def __init__(self, auth_url: str) -> None:
        self._url = auth_url.rstrip("/") + "/.well-known/jwks.json"
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._next_fetch = float("-inf")
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None
        self.changes = 0

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key, or nothing when `auth` does not know it either; raise `UnavailableError` without any keys."""
        age = monotonic() - self._fetched_at
        unknown = key_id not in self._keys
        if unknown or age >= AGING_SECONDS:
            fetching = self._fetch_soon()
            if fetching and (unknown or (age >= STALE_SECONDS and not self._failing)):
                await asyncio.shield(fetching)
        if monotonic() - self._fetched_at > BELIEVED_SECONDS:
            raise UnavailableError("keys_unavailable", "Tokens cannot be verified right now.", retry_after=1)
        return self._keys.get(key_id)

    def _fetch_soon(self) -> asyncio.Task[None] | None:
        """Return the fetch that is under way, or a new one when it is time for one."""
        if self._fetching is None or self._fetching.done():
            if monotonic() < self._next_fetch:
                return None
            self._fetching = asyncio.create_task(self._fetch(), name="key set")
        return self._fetching

    async def _fetch(self) -> None:
        began = monotonic()
        try:
            async with httpx.AsyncClient(timeout=FETCH_SECONDS, verify=_trusted()) as client:
                response = await client.get(self._url)
                response.raise_for_status()
                found = _usable(jwt.PyJWKSet.from_dict(response.json()))
        except (httpx.HTTPError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            self._failing = True
            self._next_fetch = monotonic() + (REFETCH_SECONDS if self._keys else RETRY_SECONDS)
            log.warning("key set not fetched", error=repr(error))
            return
        if _texts(found) != _texts(self._keys):
            self.changes += 1
        self._keys, self._failing, self._fetched_at = found, False, began
        self._next_fetch = began + REFETCH_SECONDS


def _usable(keys: jwt.PyJWKSet) -> dict[str, jwt.PyJWK]:
    """Leave out every key that is not a public one of Ed25519: no other may verify anything."""
    return {str(key.key_id): key for key in keys.keys[:KEYS] if key.key_id and isinstance(key.key, Ed25519PublicKey)}


def _texts(keys: dict[str, jwt.PyJWK]) -> dict[str, bytes]:
    return {key_id: key.key.public_bytes_raw() for key_id, key in keys.items()}


@cache
def _trusted() -> ssl.SSLContext:
    """Read the certificates that are trusted, once: it takes longer than the fetch."""
    return httpx.create_ssl_context()
