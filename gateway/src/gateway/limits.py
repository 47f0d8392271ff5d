"""Rate limits: GCRA, shared by all gateways through Redis and its clock, in one round trip.

Requests that arrive while an answer is awaited go together in the next pipeline. Without Redis each gateway counts for
itself: the general limits go on at their full size (the gateway fails open, by at most the number of its replicas),
those of credentials shrink to a few tries a minute (it fails closed). A request waits for Redis once and briefly; after
that a background probe looks for it, not the requests.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from hashlib import sha1
from typing import Any

from prometheus_client import Counter, Gauge
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from common.log import get_logger
from gateway.quotas import NO_LIMIT, Alone, Demand, Quota, Verdict, interval_of, whole_seconds

log = get_logger(__name__)

REDIS_SECONDS = 0.06
"""The longest a request waits for Redis."""
SLICES = 8
PROBE_SECONDS = 0.25
SOCKET_SECONDS = 5.0
BATCH = 256

SHARED = Gauge("gateway_limits_shared", "1 while limits are counted in Redis, 0 while each gateway counts alone")
DECISIONS = Counter("gateway_limit_decisions_total", "Decisions by who counted and how", ["mode", "decision"])
LIMITED = Counter("gateway_limited_total", "Requests refused by a limit", ["policy"])

SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local wait, states = 0, {}
for i, key in ipairs(KEYS) do
  local interval, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local due = tonumber(redis.call('GET', key) or now) or now
  due = math.min(math.max(due, now), now + window)
  wait = math.max(wait, due + interval - now - window)
  states[i] = {due, interval, window}
end
local answer = {wait}
for i, key in ipairs(KEYS) do
  local due, interval, window = unpack(states[i])
  if wait <= 0 then
    due = due + interval
    redis.call('SET', key, string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000))
  end
  answer[2 * i] = math.floor((now + window - due) / interval)
  answer[2 * i + 1] = due - now
end
return answer
"""
"""Per key: when the bucket would be full again (``due``). All keys are charged, or none.

``due`` is held between now and now + window, so that neither a clock set back nor a changed quota locks anybody out.
"""
SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class _Question:
    """One call of the script that waits for its turn."""

    def __init__(self, demands: Sequence[Demand]) -> None:
        self.demands = demands
        self.answer: asyncio.Future[list[int] | None] = asyncio.get_running_loop().create_future()

    def arguments(self) -> list[str]:
        keys = [demand.key for demand in self.demands]
        intervals = [interval_of(demand.policy.per_minute) for demand in self.demands]
        sizes = zip(intervals, self.demands, strict=True)
        return keys + [text for interval, demand in sizes for text in _sizes(interval, demand)]

    def resolve(self, answer: list[int] | None) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


def _sizes(interval: int, demand: Demand) -> tuple[str, str]:
    return str(interval), str(interval * demand.policy.per_minute)


class Limiter:
    """Decides in Redis while Redis answers, alone while it does not."""

    def __init__(self, redis_url: str, patience_seconds: float = REDIS_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=SOCKET_SECONDS,
            retry=Retry(NoBackoff(), 0),  # a second try would count twice and wait twice
        )
        self._queue: list[_Question] = []
        self._asking: asyncio.Task[None] | None = None
        self._alone = Alone()
        self._away = asyncio.Event()
        SHARED.set(1)

    @property
    def shared(self) -> bool:
        """True while Redis counts."""
        return not self._away.is_set()

    async def take(self, demands: Sequence[Demand]) -> Verdict:
        """Charge one unit to each demand with a limit, or nothing at all when one of them is used up."""
        wanted = [demand for demand in demands if demand.policy.per_minute]
        if not wanted:
            return NO_LIMIT
        answer = await self._ask(wanted) if self.shared else None
        verdict = self._alone.take(wanted, time.monotonic_ns() // 1000) if answer is None else _verdict(wanted, answer)
        DECISIONS.labels("alone" if answer is None else "shared", "refused" if verdict.retry_after else "passed").inc()
        if verdict.retry_after:
            for quota in verdict.quotas:
                if quota.remaining < 1:
                    LIMITED.labels(quota.name).inc()
        return verdict

    async def watch(self, _: object = None) -> None:
        """Look for Redis while it is away; runs for the life of the app."""
        while True:
            await self._away.wait()
            await asyncio.sleep(PROBE_SECONDS)
            if await self.reachable():
                self._away.clear()
                SHARED.set(1)
                log.info("limits are shared again")

    async def reachable(self) -> bool:
        """Ask Redis whether it is there."""
        try:
            return bool(await _soon(self._ping(), self._patience_seconds))
        except (RedisError, OSError):
            return False

    async def close(self) -> None:
        """Close the connections."""
        if self._asking:
            self._asking.cancel()
        await self._redis.aclose()

    async def _ping(self) -> bool:
        return bool(await self._redis.ping())

    async def _ask(self, demands: Sequence[Demand]) -> list[int] | None:
        question = _Question(demands)
        self._queue.append(question)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._empty_queue())
        return await question.answer

    async def _empty_queue(self) -> None:
        """Send what waits, batch after batch; when Redis does not answer, nobody in the queue waits any longer."""
        batch: list[_Question] = []
        try:
            while self._queue:
                batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
                answers = await _soon(self._run(batch), self._patience_seconds)
                if answers is None:
                    raise TimeoutError(f"no answer within {self._patience_seconds} s")
                for question, answer in zip(batch, answers, strict=True):
                    question.resolve(answer)
        except (RedisError, OSError) as error:
            log.warning("limits are counted alone", error=repr(error))
            self._away.set()
            SHARED.set(0)
        finally:
            for question in [*batch, *self._queue]:
                question.resolve(None)
            self._queue = []

    async def _run(self, batch: list[_Question]) -> list[list[int]]:
        """Run the script for each question in one pipeline; a server that does not know it yet is told."""
        pipeline = self._redis.pipeline(transaction=False)
        for question in batch:
            pipeline.evalsha(SHA, len(question.demands), *question.arguments())
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        for i in unknown:
            pipeline.eval(SCRIPT, len(batch[i].demands), *batch[i].arguments())
        if unknown:
            for i, answer in zip(unknown, await pipeline.execute(raise_on_error=False), strict=True):
                answers[i] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


async def _soon(asking: Coroutine[Any, Any, Any], patience_seconds: float) -> Any:  # noqa: ANN401 - Redis's answer
    """Wait a little for an answer, and give nothing when there is none.

    The wait is made of slices, each at least one turn of the loop: while a burst of requests keeps this process busy,
    an answer that has long arrived is still read, so that our own load is not taken for an outage of Redis.
    """
    task = asyncio.ensure_future(asking)
    try:
        for _ in range(SLICES):
            await asyncio.wait({task}, timeout=patience_seconds / SLICES)
            if task.done():
                return task.result()
        return None
    finally:
        task.cancel()


def _verdict(demands: Sequence[Demand], answer: list[int]) -> Verdict:
    quotas = [
        Quota(demand.policy.name, demand.policy.per_minute, answer[2 * i + 1], whole_seconds(answer[2 * i + 2]))
        for i, demand in enumerate(demands)
    ]
    return Verdict(quotas, whole_seconds(answer[0]))
