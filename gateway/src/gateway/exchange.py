"""Personal access tokens at the door: exchanged at `auth` for access tokens, which services verify as any other.

A token that a typing error or a guess has spoilt is refused by its checksum alone. A good one is asked about once in
the life of what it was exchanged for, however many requests come with it at once; a bad one is remembered for a moment,
and how many new ones an address may try is limited before `auth` is asked, so guessing reaches no database.
"""

import asyncio
from collections import OrderedDict
from hashlib import sha256
from time import monotonic
from typing import TypeVar

import aiohttp
import msgspec
from opentelemetry import propagate
from prometheus_client import Counter

from common.addresses import limit_subject
from common.errors import TooManyRequestsError, UnauthorizedError, UnavailableError
from common.log import get_logger
from common.tokens import PREFIX, is_token
from gateway.limits import Limiter
from gateway.proxy import Forwarder
from gateway.quotas import EXCHANGE, Demand, policies_of
from gateway.settings import GatewaySettings

log = get_logger(__name__)

ValueT = TypeVar("ValueT")

PATH = "/internal/tokens/exchange"
KNOWN = 10_000
REFUSED = 10_000
REFUSED_SECONDS = 5.0
MARGIN_SECONDS = 15.0
"""An access token is replaced so long before its end, so that none ends on its way to a service."""
ASK_SECONDS = 3.0
RETRY_AFTER_SECONDS = 1

ANSWERS = Counter("gateway_exchanges_total", "Personal access tokens presented, by who answered and how", ["answer"])


class Exchanged(msgspec.Struct):
    """What `auth` gives."""

    access_token: str
    expires_in: int


def is_personal(token: str) -> bool:
    """Tell whether a bearer token is meant to be a personal one."""
    return token.startswith(PREFIX)


class Exchange:
    """Knows the access tokens of the personal tokens that are in use."""

    def __init__(self, settings: GatewaySettings, forwarder: Forwarder, limiter: Limiter) -> None:
        self._forwarder = forwarder
        self._limiter = limiter
        self._policy = policies_of(settings)[EXCHANGE]
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[str]] = {}

    async def access_token(self, token: str, *, client: str, request_id: str) -> str:
        """Return the access token to go on with.

        Raises:
            UnauthorizedError: The token is misspelt, unknown, expired or revoked, or its owner may not.
            TooManyRequestsError: The address has tried too many new ones.
            UnavailableError: `auth` does not answer, and nothing is remembered.
        """
        if not is_token(token):
            ANSWERS.labels("malformed").inc()
            raise _refusal()
        digest = sha256(token.encode()).digest()
        now = monotonic()
        if (known := self._known.get(digest)) and now < known[1]:
            self._known.move_to_end(digest)
            ANSWERS.labels("remembered").inc()
            return known[0]
        if now < self._refused.get(digest, now):
            ANSWERS.labels("remembered_refusal").inc()
            raise _refusal()
        if digest not in self._asking:
            asking = asyncio.create_task(self._ask(digest, token, client, request_id))
            self._asking[digest] = asking
            asking.add_done_callback(lambda done: self._asked(digest, done))
        return await asyncio.shield(self._asking[digest])  # who leaves does not take the others along

    def forget(self, token: str, access_token: str) -> None:
        """Ask again next time: the access token is refused, as its session ended."""
        digest = sha256(token.encode()).digest()
        if self._known.get(digest, ("", 0.0))[0] == access_token:
            del self._known[digest]

    def _asked(self, digest: bytes, done: asyncio.Task[str]) -> None:
        del self._asking[digest]
        if not done.cancelled():
            done.exception()  # whoever waited has it; if nobody did any more, it is nobody's

    async def _ask(self, digest: bytes, token: str, client: str, request_id: str) -> str:
        verdict = await self._limiter.take([Demand(self._policy, limit_subject(client))])
        if verdict.retry_after:
            raise TooManyRequestsError("rate_limited", "Rate limit exceeded", retry_after=verdict.retry_after)
        asked_at = monotonic()
        try:
            exchanged = await self._exchange(token, request_id)
        except UnauthorizedError:
            _keep(self._refused, digest, monotonic() + REFUSED_SECONDS, REFUSED)
            ANSWERS.labels("refused").inc()
            raise
        except UnavailableError:
            ANSWERS.labels("unavailable").inc()
            raise
        _keep(self._known, digest, (exchanged.access_token, asked_at + exchanged.expires_in - MARGIN_SECONDS), KNOWN)
        ANSWERS.labels("exchanged").inc()
        return exchanged.access_token

    async def _exchange(self, token: str, request_id: str) -> Exchanged:
        """Ask `auth`, once more when a connection fails: asking twice changes nothing."""
        try:
            return await self._post(token, request_id)
        except aiohttp.ClientConnectionError as error:
            log.debug("asking again", error=repr(error))
        try:
            return await self._post(token, request_id)
        except aiohttp.ClientConnectionError as error:
            raise _unavailable() from error

    async def _post(self, token: str, request_id: str) -> Exchanged:
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        propagate.inject(headers)
        try:
            async with self._forwarder.session.post(
                self._forwarder.url("auth", PATH),
                data=msgspec.json.encode({"token": token}),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=ASK_SECONDS),
                allow_redirects=False,
            ) as response:
                status, body = response.status, await response.read()
        except aiohttp.ClientConnectionError:
            raise
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unavailable() from error
        if status == 401:  # noqa: PLR2004 - unauthorised
            raise _refusal()
        if status != 200:  # noqa: PLR2004 - OK
            log.warning("a personal access token was not exchanged", status=status)
            raise _unavailable()
        try:
            return msgspec.json.decode(body, type=Exchanged)
        except msgspec.MsgspecError as error:
            raise _unavailable() from error


def _keep(memory: OrderedDict[bytes, ValueT], digest: bytes, value: ValueT, size: int) -> None:
    memory[digest] = value
    memory.move_to_end(digest)
    while len(memory) > size:
        memory.popitem(last=False)


def _refusal() -> UnauthorizedError:
    return UnauthorizedError("invalid_token", "The access token is missing, expired or not valid.")


def _unavailable() -> UnavailableError:
    detail = "Personal access tokens cannot be checked right now. Try again shortly."
    return UnavailableError("exchange_unavailable", detail, retry_after=RETRY_AFTER_SECONDS)
