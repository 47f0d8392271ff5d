"""A session that has ended is refused by every process, however it is reached, within two seconds, and stays so."""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
import jwt
import nats
import pytest

from common import clock
from common.contracts import encode
from common.contracts.auth import SessionRevoked
from devstack.stack import Stack
from devstack.testing import eventually

SECONDS = 2.0
PATHS = {
    "gateway": "/api/v1/races",
    "auth": "/api/v1/users/me",
    "leagues": "/api/v1/teams",
    "scoring": f"/api/v1/leagues/{uuid4()}/leaderboard",
    "webhooks": "/api/v1/webhooks",
}
"""What takes a token, of everybody who verifies any; behind the gateway stands one who does not."""


@pytest.fixture(scope="module")
def stack(stacks: Callable[..., Stack]) -> Stack:
    return stacks()


async def enter(stack: Stack) -> str:
    """Open an account and log in; return the access token."""
    name, password = f"player_{uuid4().hex[:10]}", "Tyres-Hot-99"
    async with httpx.AsyncClient(base_url=f"{stack.gateway_url}/api/v1/auth", timeout=30) as http:
        account = {"username": name, "email": f"{name}@example.org", "password": password}
        assert (await http.post("/register", json=account)).status_code == 201
        answer = await http.post("/login", json={"username": name, "password": password})
    return str(answer.json()["access_token"])


async def answers(stack: Stack, token: str) -> dict[str, int]:
    """Ask everybody, directly, and return the statuses."""
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
        urls = [stack.urls[name] + path for name, path in PATHS.items()]
        responses = await asyncio.gather(*(http.get(url) for url in urls))
    for response in responses:
        assert response.status_code != 401 or response.json()["code"] == "invalid_token"
    return {name: response.status_code for name, response in zip(PATHS, responses, strict=True)}


async def end(stack: Stack, token: str) -> float:
    """End a session as `auth` does; return when."""
    client = await nats.connect(stack.nats_url, user_credentials=stack.nats_creds("auth"), inbox_prefix=b"_INBOX_auth")
    session = UUID(jwt.decode(token, options={"verify_signature": False})["sid"])
    event = SessionRevoked(user_id=uuid4(), session_ids=[session], reason="logout", revoked_at=clock.now())
    await client.jetstream().publish(event.subject, encode(event))
    ended = time.monotonic()
    await client.close()
    return ended


async def refused_everywhere(stack: Stack, token: str) -> bool:
    return set((await answers(stack, token)).values()) == {401}


@pytest.mark.timeout(300)
async def test_a_session_that_ended_is_refused_by_everybody_within_two_seconds(stack: Stack) -> None:
    gone, stays = await enter(stack), await enter(stack)
    assert 401 not in (await answers(stack, gone)).values(), "everybody has seen the token"
    ended = await end(stack, gone)
    await eventually(lambda: refused_everywhere(stack, gone), seconds=10, what="a refusal by everybody")
    assert time.monotonic() - ended < SECONDS
    assert 401 not in (await answers(stack, stays)).values()

    for name in PATHS:
        stack.kill(name)
    for name in PATHS:
        stack.start_again(name)
    assert await refused_everywhere(stack, gone), "by the first answer of a process that has just begun"
    assert 401 not in (await answers(stack, stays)).values()

    stack.kill("nats")
    assert await refused_everywhere(stack, gone)
    assert 401 not in (await answers(stack, stays)).values(), "nobody is turned away for NATS"
    stack.start_again("nats")
    await end(stack, stays)
    await eventually(lambda: refused_everywhere(stack, stays), seconds=20, what="a refusal after NATS was away")
    log = (stack.state.logs / "nats.log").read_text()
    assert [line for line in log.splitlines() if "Violation" in line] == []
