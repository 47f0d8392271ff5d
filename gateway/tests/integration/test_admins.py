"""Tokens of admins at the door: good on the routes of admins, nothing anywhere else, and counted apart."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx

from devstack.testing import TokenMaker

Upstream = Any
Starter = Callable[..., Awaitable[httpx.AsyncClient]]
ADMIN_PATHS = ("/api/v1/admin/me", "/api/v1/admin/users", "/api/v1/admin/audit", "/api/v1/admin/admins")
USER_PATHS = ("/api/v1/leagues", "/api/v1/races", "/api/v1/users/me", "/api/v1/webhooks")


def admin(tokens: TokenMaker) -> dict[str, str]:
    token = tokens.make(uuid4(), "chief", aud="paddock-admin", scope="users:read")
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_is_good_in_its_own_realm_alone(
    client: httpx.AsyncClient, upstream: Upstream, tokens: TokenMaker
) -> None:
    for headers, good, bad in (
        (admin(tokens), ADMIN_PATHS, USER_PATHS),
        (tokens.headers(), USER_PATHS, ADMIN_PATHS),
        ({}, (), ADMIN_PATHS),
    ):
        for path in good:
            assert (await client.get(path, headers=headers)).status_code == 200, path
        upstream.requests.clear()
        for path in bad:
            response = await client.get(path, headers=headers)
            assert (response.status_code, response.json()["code"]) == (401, "invalid_token"), path
        assert upstream.requests == []


async def test_an_audience_of_both_is_good_in_neither(client: httpx.AsyncClient, tokens: TokenMaker) -> None:
    both = tokens.make(uuid4(), "chief", aud=["paddock-admin", "paddock-api"], scope="users:read")
    for path in (ADMIN_PATHS[0], USER_PATHS[0]):
        response = await client.get(path, headers={"Authorization": f"Bearer {both}"})
        assert response.status_code == 401, path


async def test_an_admin_has_fifty_requests_a_minute_from_wherever_they_come(start: Starter, tokens: TokenMaker) -> None:
    client = await start(gateway_limit_admin_per_minute=50)
    one, other = admin(tokens), admin(tokens)
    statuses = [(await client.get(ADMIN_PATHS[0], headers=one)).status_code for _ in range(52)]
    assert statuses[:50] == [200] * 50
    assert 429 in statuses[50:]
    answer = await client.get(ADMIN_PATHS[0], headers=other)
    assert answer.status_code == 200
    assert '"admin";q=50;w=60' in answer.headers["ratelimit-policy"]
    assert (await client.get(USER_PATHS[0], headers=tokens.headers())).status_code == 200
