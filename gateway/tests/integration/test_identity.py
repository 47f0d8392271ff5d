"""A token is good or it is a 401, here as at every service."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common import clock
from devstack.testing import TokenMaker

Upstream = Any
Starter = Callable[..., Awaitable[httpx.AsyncClient]]
REFUSAL = ("invalid_token", "The access token is missing, expired or not valid.")


def bad_tokens(tokens: TokenMaker) -> dict[str, str]:
    now, good = clock.now(), tokens.make()
    public = tokens.private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    claims = jwt.decode(good, options={"verify_signature": False})
    head = {"kid": tokens.key_id, "typ": "at+jwt"}
    stranger = TokenMaker()
    other = jwt.encode(claims, stranger.private_key, "EdDSA", headers=head)
    stranger.close()

    def signed(**headers: Any) -> str:
        return jwt.encode(claims, tokens.private_key, "EdDSA", headers={**head, **headers})

    return {
        "garbage": "a.b.c",
        "one part": "abc",
        "expired": tokens.make(exp=now - timedelta(minutes=1)),
        "not yet": tokens.make(nbf=now + timedelta(minutes=5)),
        "from the future": tokens.make(iat=now + timedelta(minutes=5)),
        "wrong issuer": tokens.make(iss="elsewhere"),
        "wrong audience": tokens.make(aud="elsewhere"),
        "no subject": tokens.make(sub=None),
        "odd subject": tokens.make(sub="root"),
        "no expiry": tokens.make(exp=None),
        "none algorithm": jwt.encode(claims, "", "none", headers=head),
        "public key as secret": jwt.encode(claims, public.hex() * 2, "HS256", headers=head),
        "another key": other,
        "unknown key id": signed(kid="nobody"),
        "key id as path": signed(kid="../../etc/passwd"),
        "key id as query": signed(kid="' OR 1=1 --"),
        "key of its own": signed(jku="https://evil.example/jwks.json", kid="evil"),
        "refresh token": signed(typ="rt+jwt"),
        "plain type": signed(typ="JWT"),
        "tampered": good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB"),
        "claims swapped": ".".join([good.split(".")[0], tokens.make().split(".")[1], good.split(".")[2]]),
        "too long": good + "A" * 9000,
    }


async def test_every_bad_token_is_refused_with_the_same_words_and_reaches_nobody(
    client: httpx.AsyncClient, upstream: Upstream, tokens: TokenMaker
) -> None:
    await client.get("/api/v1/leagues", headers=tokens.headers())
    upstream.requests.clear()
    for path in ("/api/v1/leagues", "/api/v1/races"):
        for name, token in bad_tokens(tokens).items():
            response = await client.get(path, headers={"Authorization": f"Bearer {token}"})
            body = response.json()
            assert (response.status_code, body["code"], body["detail"]) == (401, *REFUSAL), name
            assert response.headers["www-authenticate"] == "Bearer"
    assert {request["path"] for request in upstream.requests} <= {"/.well-known/jwks.json"}


@pytest.mark.parametrize("header", ["Basic eDp5", "Bearer", "bearer", "token", ""])
async def test_an_authorization_that_is_no_bearer_token_is_refused(client: httpx.AsyncClient, header: str) -> None:
    response = await client.get("/api/v1/races", headers={"Authorization": header})
    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")


async def test_a_good_token_is_passed_on_for_the_service_to_verify(
    client: httpx.AsyncClient, upstream: Upstream, tokens: TokenMaker
) -> None:
    headers = tokens.headers(uuid4())
    assert (await client.get("/api/v1/leagues", headers=headers)).status_code == 200
    assert dict(upstream.requests[-1]["headers"])["authorization"] == headers["Authorization"]


async def test_without_a_token_the_public_is_public_and_the_rest_is_not(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    assert (await client.get("/api/v1/races")).status_code == 200
    assert (await client.get("/api/v1/leagues")).status_code == 401
    assert [request["service"] for request in upstream.requests] == ["ingest"]


async def test_a_stale_token_does_not_keep_its_owner_from_logging_in(
    client: httpx.AsyncClient, upstream: Upstream, tokens: TokenMaker
) -> None:
    stale = {"Authorization": f"Bearer {tokens.make(exp=clock.now() - timedelta(hours=1))}"}
    for path in ("login", "refresh", "register"):
        assert (await client.post(f"/api/v1/auth/{path}", json={}, headers=stale)).status_code == 200
        assert "authorization" not in dict(upstream.requests[-1]["headers"])


async def test_a_remembered_token_is_forgotten_when_it_expires(client: httpx.AsyncClient, tokens: TokenMaker) -> None:
    leeway = 10
    expires = clock.now() + timedelta(seconds=1.5 - leeway)
    headers = {"Authorization": f"Bearer {tokens.make(exp=expires)}"}
    assert (await client.get("/api/v1/leagues", headers=headers)).status_code == 200
    assert (await client.get("/api/v1/leagues", headers=headers)).status_code == 200
    deadline = clock.now() + timedelta(seconds=5)
    while (await client.get("/api/v1/leagues", headers=headers)).status_code != 401:
        assert clock.now() < deadline
        await asyncio.sleep(0.05)


async def test_auth_away_is_a_503_for_tokens_it_never_vouched_for_and_nothing_to_the_public(
    start: Starter, tokens: TokenMaker
) -> None:
    client = await start(auth_url="http://127.0.0.1:1")
    response = await client.get("/api/v1/leagues", headers=tokens.headers())
    assert (response.status_code, response.json()["code"]) == (503, "keys_unavailable")
    assert response.headers["retry-after"] == "1"
    assert (await client.get("/api/v1/races")).status_code == 200
