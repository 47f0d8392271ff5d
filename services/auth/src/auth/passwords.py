"""Passwords at rest: bcrypt over a keyed prehash, in a few threads with a short queue."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import TypeVar

import bcrypt
from anyio import CapacityLimiter, to_thread

from auth.settings import AuthSettings
from common.errors import UnavailableError

RETRY_SECONDS = 2

ResultT = TypeVar("ResultT")


class PasswordHasher:
    """Hashes and verifies. A flood of logins is told to come back and leaves the event loop and the cores alone."""

    def __init__(self, settings: AuthSettings) -> None:
        self._pepper = settings.password_pepper.encode()
        self._cost = settings.bcrypt_cost
        self._threads = CapacityLimiter(settings.hash_threads)
        self._room = settings.hash_threads + settings.hash_queue
        self._inside = 0
        self._nobody = f"$2b${settings.bcrypt_cost:02d}${'.' * 53}"
        """A hash that no password has and that takes as long to check as one made now."""

    async def hash(self, password: str) -> str:
        """Return a salted hash; raise `UnavailableError` when too many wait."""
        return await self._in_thread(
            lambda: bcrypt.hashpw(self._prehash(password), bcrypt.gensalt(self._cost)).decode()
        )

    async def verify(self, password: str, stored: str | None) -> bool:
        """Tell whether the password has that hash. ``None``, for a user who is not there, is as slow, and false."""
        known = (stored or self._nobody).encode()
        matches = await self._in_thread(lambda: bcrypt.checkpw(self._prehash(password), known))
        return matches and stored is not None

    def _prehash(self, password: str) -> bytes:
        """Return 44 characters without NUL, so that bcrypt's 72 bytes are no limit and no byte ends the password."""
        return base64.b64encode(hmac.digest(self._pepper, password.encode(), hashlib.sha256))

    async def _in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        if self._inside >= self._room:
            detail = "Too many people are logging in right now. Try again shortly."
            raise UnavailableError("busy", detail, retry_after=RETRY_SECONDS)
        self._inside += 1
        try:
            return await to_thread.run_sync(work, limiter=self._threads)
        finally:
            self._inside -= 1
