"""Limits are exact while Redis counts, and nobody waits or is locked out when it does not."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis

from devstack.servers import ValkeyServer, start_valkey
from devstack.testing import Servers, TokenMaker, eventually
from gateway.limits import REDIS_SECONDS, Limiter
from gateway.quotas import Demand, Policy

PATIENT = 5.0
"""For tests of exactness: how long a busy machine takes is no matter of theirs."""

Starter = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A Valkey of this module's own, to be treated badly."""
    server = start_valkey(tmp_path_factory.mktemp("fragile"))
    yield server
    server.stop()


@pytest.fixture
def valkey(fragile: ValkeyServer) -> ValkeyServer:
    """The same, running."""
    if not fragile.running:
        fragile.revive()
    return fragile


@contextlib.asynccontextmanager
async def limiters(url: str, count: int, patience_seconds: float = PATIENT) -> AsyncIterator[list[Limiter]]:
    """So many gateways' limiters, each with its watch."""
    made = [Limiter(url, patience_seconds) for _ in range(count)]
    watches = [asyncio.create_task(limiter.watch()) for limiter in made]
    try:
        yield made
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await asyncio.gather(*(limiter.close() for limiter in made))


def demand(per_minute: int, *, alone: int | None = None) -> Demand:
    return Demand(Policy("default", per_minute, per_minute if alone is None else alone), uuid4().hex)


async def passed(limiters: list[Limiter], wanted: list[Demand], count: int) -> int:
    """Ask ``count`` times at once, spread over the limiters; return how often the answer was yes."""
    asks = (limiters[number % len(limiters)].take(wanted) for number in range(count))
    return [verdict.retry_after for verdict in await asyncio.gather(*asks)].count(0)


async def test_of_a_thousand_at_once_at_four_gateways_exactly_the_limit_passes(servers: Servers) -> None:
    async with limiters(servers.redis_url, 4) as four:
        for _ in range(3):
            assert await passed(four, [demand(20)], 1000) == 20
        assert all(limiter.shared for limiter in four)


async def test_a_refusal_by_one_quota_charges_no_other(servers: Servers) -> None:
    async with limiters(servers.redis_url, 2) as two:
        address, first, second = demand(10), demand(3), demand(20)
        assert await passed(two, [address, first], 50) == 3
        assert await passed(two, [address, second], 50) == 7


async def test_a_flushed_script_is_loaded_again_and_nothing_is_lost(servers: Servers) -> None:
    redis = Redis.from_url(servers.redis_url)
    async with limiters(servers.redis_url, 2) as two:
        wanted = [demand(10)]
        assert await passed(two, wanted, 4) == 4
        await redis.script_flush()
        assert await passed(two, wanted, 50) == 6
    await redis.aclose()


async def test_what_is_told_is_true(servers: Servers) -> None:
    async with limiters(servers.redis_url, 1) as [limiter]:
        wanted = [demand(60)]
        told = [(await limiter.take(wanted)).quotas[0] for _ in range(3)]
        assert [quota.remaining for quota in told] == [59, 58, 57]
        assert [quota.reset_seconds for quota in told] == [1, 2, 3]
        await passed([limiter], wanted, 57)
        refused = await limiter.take(wanted)
        assert (refused.quotas[0].remaining, refused.retry_after) == (0, 1)


async def test_a_bucket_left_by_a_larger_limit_locks_nobody_out(servers: Servers) -> None:
    async with limiters(servers.redis_url, 1) as [limiter]:
        small = demand(10)
        redis = Redis.from_url(servers.redis_url)
        await redis.set(small.key, str(10**18))
        await redis.aclose()
        assert 0 < (await limiter.take([small])).retry_after <= 6


async def test_redis_killed_costs_no_request_its_time_and_is_used_again_when_it_is_back(valkey: ValkeyServer) -> None:
    async with limiters(valkey.url, 1, REDIS_SECONDS) as [limiter]:
        assert await passed([limiter], [demand(5)], 20) == 5
        valkey.kill()
        began = time.monotonic()
        assert await passed([limiter], [demand(5, alone=2)], 20) == 2
        assert time.monotonic() - began < 0.1
        assert not limiter.shared
        valkey.revive()
        back = time.monotonic()
        await eventually(lambda: shared(limiter), seconds=2, what="counting in Redis again")
        assert time.monotonic() - back < 2
        assert await passed([limiter], [demand(5, alone=2)], 20) == 5


async def shared(limiter: Limiter) -> bool:
    return limiter.shared


async def test_redis_frozen_is_noticed_within_the_time_of_one_request(valkey: ValkeyServer) -> None:
    async with limiters(valkey.url, 1, REDIS_SECONDS) as [limiter]:
        wanted = [demand(10)]
        assert await passed([limiter], wanted, 1) == 1
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            waits = []
            for _ in range(5):
                began = time.monotonic()
                await limiter.take(wanted)
                waits.append(time.monotonic() - began)
            assert max(waits) < 0.1
            assert max(waits[1:]) < 0.02
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        await eventually(lambda: shared(limiter), seconds=2, what="counting in Redis again")


async def statuses(client: httpx.AsyncClient, count: int, path: str, **arguments: Any) -> list[int]:
    responses = await asyncio.gather(*(client.get(path, **arguments) for _ in range(count)))
    return sorted(response.status_code for response in responses)


async def test_request_n_plus_1_is_a_429_at_whatever_gateway_it_arrives(start: Starter) -> None:
    clients = [await start(gateway_limit_default_per_minute=10) for _ in range(2)]
    answers = await asyncio.gather(*(clients[number % 2].get("/api/v1/races") for number in range(30)))
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 20
    refused = next(answer for answer in answers if answer.status_code == 429)
    body = refused.json()
    assert (body["code"], body["detail"], body["status"]) == ("rate_limited", "Rate limit exceeded", 429)
    assert str(body["retry_after"]) == refused.headers["retry-after"] == "6"
    assert refused.headers["ratelimit-policy"] == '"default";q=10;w=60'
    assert refused.headers["ratelimit"].startswith('"default";r=0;t=')


async def test_each_kind_of_call_has_its_own_quota(start: Starter) -> None:
    client = await start(gateway_limit_default_per_minute=3, gateway_limit_analytics_per_minute=2)
    assert await statuses(client, 5, "/api/v1/races") == [200] * 3 + [429] * 2
    assert await statuses(client, 5, "/api/v1/analytics/schedule") == [200] * 2 + [429] * 3
    assert (await client.post("/api/v1/auth/login", json={})).status_code == 200
    assert (await client.get("/health/ready")).status_code == 200
    assert (await client.get("/nowhere")).status_code == 429


async def test_a_user_is_limited_and_not_the_next_one(start: Starter, tokens: TokenMaker) -> None:
    client = await start(gateway_limit_user_per_minute=2)
    first, second = tokens.headers(uuid4()), tokens.headers(uuid4())
    assert await statuses(client, 4, "/api/v1/leagues", headers=first) == [200, 200, 429, 429]
    assert await statuses(client, 2, "/api/v1/leagues", headers=second) == [200, 200]


async def test_bad_tokens_use_the_quota_up_too(start: Starter) -> None:
    client = await start(gateway_limit_default_per_minute=3)
    headers = {"Authorization": "Bearer a.b.c"}
    assert await statuses(client, 5, "/api/v1/leagues", headers=headers) == [401, 401, 401, 429, 429]


async def test_forged_addresses_share_one_quota_and_trusted_ones_do_not(start: Starter) -> None:
    forged = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(6)]
    plain = await start(gateway_limit_default_per_minute=3)
    answers = [(await plain.get("/api/v1/races", headers=header)).status_code for header in forged]
    assert answers == [200, 200, 200, 429, 429, 429]
    behind = await start(gateway_limit_default_per_minute=3, gateway_trusted_hops=1)
    assert [(await behind.get("/api/v1/races", headers=header)).status_code for header in forged] == [200] * 6


async def test_without_redis_reading_goes_on_and_guessing_gets_harder(start: Starter, valkey: ValkeyServer) -> None:
    client = await start(
        redis_url=valkey.url, gateway_limit_default_per_minute=100, gateway_limit_credentials_per_minute=10
    )
    assert (await client.get("/api/v1/races")).status_code == 200
    valkey.kill()
    began = time.monotonic()
    assert (await client.get("/api/v1/races")).status_code == 200
    assert time.monotonic() - began < 0.5
    logins = [(await client.post("/api/v1/auth/login", json={})).status_code for _ in range(8)]
    assert logins == [200] * 5 + [429] * 3
    assert "gateway_limits_shared 0.0" in (await client.get("/metrics")).text
    valkey.revive()

    async def again() -> bool:
        return "gateway_limits_shared 1.0" in (await client.get("/metrics")).text

    await eventually(again, seconds=2, what="shared limits")
