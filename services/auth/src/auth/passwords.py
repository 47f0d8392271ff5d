"""Passwords at rest: bcrypt over a keyed prehash, in a few threads of low priority with a short queue.

bcrypt's cost is all that tells one check from another, so every check costs the same: with a hash that was made
cheaper, what is missing is computed besides, and a user who is not there is checked against a hash that nobody has.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import bcrypt
from prometheus_client import Counter, Gauge

from auth.settings import AuthSettings
from common.errors import UnavailableError
from common.log import get_logger

log = get_logger(__name__)

RETRY_SECONDS = 2
LOWEST_PRIORITY = 19

ROUNDS = Counter("auth_password_rounds_total", "Rounds of bcrypt computed: 2 to the power of the cost, each time")
INSIDE = Gauge("auth_passwords_inside", "Requests that hash a password or wait for a thread to do it")

ResultT = TypeVar("ResultT")


class Place:
    """Room for one request, which may hash as often as it needs to."""

    def __init__(self, pepper: bytes, cost: int, threads: ThreadPoolExecutor) -> None:
        self._pepper = pepper
        self._cost = cost
        self._threads = threads

    async def hash(self, password: str) -> str:
        """Return a salted hash."""
        prehash = self._prehash(password)
        made = await self._in_thread(lambda: bcrypt.hashpw(prehash, bcrypt.gensalt(self._cost)))
        ROUNDS.inc(2**self._cost)
        return made.decode()

    async def verify(self, password: str, stored: str | None) -> bool:
        """Tell whether the password has that hash. ``None``, for a user who is not there, is as slow, and false."""
        known = (stored or _nobody(self._cost)).encode()
        cost = cost_of(known)
        fill = [_nobody(less).encode() for less in range(cost, self._cost)]  # 2^a + (2^a + … + 2^(b-1)) = 2^b
        prehash = self._prehash(password)
        matches = await self._in_thread(lambda: [bcrypt.checkpw(prehash, each) for each in (known, *fill)])
        ROUNDS.inc(2 ** max(cost, self._cost))
        return matches[0] and stored is not None

    def _prehash(self, password: str) -> bytes:
        """Return 44 characters without NUL, so that bcrypt's 72 bytes are no limit and no byte ends the password."""
        return base64.b64encode(hmac.digest(self._pepper, password.encode(), hashlib.sha256))

    async def _in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class PasswordHasher:
    """Hashes and verifies. A flood of logins is told to come back and leaves the event loop and the cores alone."""

    def __init__(self, settings: AuthSettings) -> None:
        self.thread_name = f"password-{id(self):x}"
        threads = ThreadPoolExecutor(settings.hash_threads, self.thread_name, initializer=step_back)
        self._place = Place(settings.password_pepper.encode(), settings.bcrypt_cost, threads)
        self._cost = settings.bcrypt_cost
        self._room = settings.hash_threads + settings.hash_queue
        self.inside = 0
        """Requests that have a place."""

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Take one of the places while the block lasts; raise `UnavailableError` when all are taken."""
        if self.inside >= self._room:
            detail = "Too many people are logging in right now. Try again shortly."
            raise UnavailableError("busy", detail, retry_after=RETRY_SECONDS)
        self.inside += 1
        INSIDE.inc()
        try:
            yield self._place
        finally:
            self.inside -= 1
            INSIDE.dec()

    async def hash(self, password: str) -> str:
        """Return a salted hash; raise `UnavailableError` when too many wait."""
        with self.place() as place:
            return await place.hash(password)

    async def verify(self, password: str, stored: str | None) -> bool:
        """Tell whether the password has that hash, as `Place.verify`; raise `UnavailableError` when too many wait."""
        with self.place() as place:
            return await place.verify(password, stored)

    def is_stale(self, stored: str) -> bool:
        """Tell whether a hash was made with another cost than the setting has now."""
        return cost_of(stored.encode()) != self._cost


def cost_of(stored: bytes) -> int:
    """Return the cost of a bcrypt hash: ``$2b$12$…`` is 12."""
    return int(stored.split(b"$")[2])


def _nobody(cost: int) -> str:
    """Return a hash that no password has."""
    return f"$2b${cost:02d}${'.' * 53}"


def step_back() -> None:
    """Let this thread have what the event loop, PostgreSQL and everybody else leave."""
    if sys.platform != "linux":
        return  # elsewhere threads have no priority of their own
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
    except OSError as error:
        log.warning("passwords are hashed at the priority of everything else", error=error.strerror)
