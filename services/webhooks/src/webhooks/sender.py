"""One attempt: render, sign, send, and tell how it ended. It never raises for what a receiver does."""

import asyncio
import contextlib
import ssl
import time

import httpcore
from cryptography.exceptions import InvalidTag

from common import clock
from common.log import get_logger
from webhooks import rendering, signing
from webhooks.domain import Attempt, Failure, read_retry_after
from webhooks.queue import Job
from webhooks.settings import WebhooksSettings
from webhooks.signing import Seal
from webhooks.targets import CheckedBackend, Guard, RefusedError, Target

log = get_logger(__name__)

ANSWER_BYTES = 1024
"""How much of an answer's body is taken off the wire; nothing of it is kept."""
ANSWER_SECONDS = 1.0
USER_AGENT = "Paddock-Webhooks/1"
SUCCESS = range(200, 300)


class Sender:
    """Sends deliveries, each on a connection of its own to an address that was just checked."""

    def __init__(self, settings: WebhooksSettings, guard: Guard) -> None:
        self._guard = guard
        self._seal = Seal(settings.encryption_secret)
        self._request_seconds = settings.request_seconds
        seconds = settings.request_seconds
        self._timeouts = {"connect": settings.connect_seconds, "read": seconds, "write": seconds, "pool": seconds}
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpcore.default_ssl_context(),
            max_connections=settings.concurrency,
            max_keepalive_connections=0,
            network_backend=CheckedBackend(guard),
        )

    async def send(self, job: Job) -> Attempt:
        """Make one attempt."""
        started = time.perf_counter()
        status, retry_after, error = None, None, Failure.ENDPOINT_DISABLED if job.disabled else None
        if error is None:
            try:
                async with asyncio.timeout(self._request_seconds):
                    status, retry_after = await self._post(job)
                error = None if status in SUCCESS else Failure.STATUS
            except Exception as trouble:  # noqa: BLE001 - the edge: whatever it is, the delivery must not be stuck
                error = _failure(trouble, job)
        duration = round((time.perf_counter() - started) * 1000)
        return Attempt(status_code=status, duration_ms=duration, error=error, retry_after=read_retry_after(retry_after))

    async def close(self) -> None:
        """Close what is open."""
        await self._pool.aclose()

    async def _post(self, job: Job) -> tuple[int, str | None]:
        target = self._guard.read(job.url)
        content_type, body = rendering.render(job.message, job.form)
        keys = [self._seal.open(job.endpoint_id, sealed) for sealed in job.sealed]
        headers: list[tuple[bytes | str, bytes | str]] = [
            ("Host", target.authority),
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("User-Agent", USER_AGENT),
            ("Accept", "*/*"),
            *signing.headers(keys, str(job.message.event_id), int(clock.now().timestamp()), body).items(),
        ]
        async with self._pool.stream(
            "POST", _url(target), headers=headers, content=body, extensions={"timeout": self._timeouts}
        ) as response:
            answered = {name.lower(): value for name, value in response.headers}
            await _drain(response)
        retry_after = answered.get(b"retry-after")
        return response.status, retry_after.decode("latin-1") if retry_after else None


def _url(target: Target) -> httpcore.URL:
    return httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)


async def _drain(response: httpcore.Response) -> None:
    """Take a little of the body, so that an honest receiver is not cut off in the middle of a line."""
    taken = 0
    with contextlib.suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
        async with asyncio.timeout(ANSWER_SECONDS):
            async for chunk in response.aiter_stream():
                taken += len(chunk)
                if taken >= ANSWER_BYTES:
                    return


def _failure(trouble: Exception, job: Job) -> Failure:
    """Name what went wrong; what is nobody's fault but ours is logged."""
    match trouble:
        case RefusedError():
            return Failure.ADDRESS
        case TimeoutError() | httpcore.TimeoutException():
            return Failure.TIMEOUT
        case httpcore.ConnectError() if isinstance(trouble.__cause__ or trouble.__context__, ssl.SSLError):
            return Failure.TLS
        case httpcore.NetworkError() | OSError():
            return Failure.CONNECTION
        case httpcore.ProtocolError():
            return Failure.PROTOCOL
        case InvalidTag():
            log.error("WEBHOOKS_ENCRYPTION_SECRET does not open an endpoint's key", endpoint_id=str(job.endpoint_id))
        case _:
            log.error("attempt failed", delivery_id=str(job.delivery_id), exc_info=trouble)
    return Failure.INTERNAL
