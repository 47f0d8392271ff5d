"""Programs at the door: a personal token is asked about once, never passed on, and never a flood on `auth`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from common import clock, denials, topology
from common.contracts import encode
from common.contracts.auth import SessionRevoked
from common.tokens import new_token
from devstack.testing import Servers, TokenMaker, eventually
from gateway import exchange
from gateway.limits import Limiter
from gateway.proxy import Forwarder
from gateway.settings import GatewaySettings

Upstream = Any
Starter = Callable[..., Awaitable[httpx.AsyncClient]]
Serving = Callable[..., contextlib.AbstractAsyncContextManager[str]]
PATH = "/api/v1/leagues"
REFUSAL = ("invalid_token", "The access token is missing, expired or not valid.")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Auth:
    """An `auth` that gives keys and exchanges the tokens it knows, and remembers what it was asked."""

    def __init__(self, tokens: TokenMaker) -> None:
        self.tokens = tokens
        self.url = ""
        self.known: dict[str, dict[str, Any]] = {}
        """Personal token to claims of the access token; ``life`` is in seconds."""
        self.asked: list[str] = []
        self.answer: tuple[int, bytes] | None = None
        """In place of every exchange."""
        self.waiting = asyncio.Event()
        self.waiting.set()

    def issue(self, **claims: Any) -> str:
        token = new_token()
        self.known[token] = {"sid": str(uuid4()), "sub": str(uuid4()), "scope": "leagues:read"} | claims
        return token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        status, answer = 200, msgspec.json.encode(self.tokens.jwks)
        if scope["path"] == "/internal/tokens/exchange":
            assert scope["method"] == "POST"
            self.asked.append(msgspec.json.decode(body)["token"])
            await self.waiting.wait()
            status, answer = self.answer or self._exchange(self.asked[-1])
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/json")]})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    def _exchange(self, token: str) -> tuple[int, bytes]:
        if token not in self.known:
            return 401, b'{"code": "invalid_token"}'
        claims = {"life": 300} | self.known[token]
        life = claims.pop("life")
        signed = self.tokens.make(**claims, exp=clock.now() + timedelta(seconds=life))
        return 200, msgspec.json.encode({"access_token": signed, "expires_in": life})


@pytest.fixture
async def auth(tokens: TokenMaker, serving: Serving) -> AsyncIterator[Auth]:
    app = Auth(tokens)
    async with serving(app) as app.url:
        yield app


@pytest.fixture
async def client(start: Starter, auth: Auth) -> httpx.AsyncClient:
    return await start(auth_url=auth.url)


def authorization(request: dict[str, Any]) -> str:
    return str(dict(request["headers"])["authorization"])


async def test_a_service_gets_the_access_token_and_nobody_the_personal_one(
    client: httpx.AsyncClient, auth: Auth, upstream: Upstream
) -> None:
    token = auth.issue()
    for path in (PATH, "/api/v1/races"):
        assert (await client.get(path, headers=bearer(token))).status_code == 200
    for request in upstream.requests:
        assert authorization(request).startswith("Bearer eyJ")
        assert token not in str(request)
    assert auth.asked == [token]


async def test_many_requests_at_once_are_one_question(client: httpx.AsyncClient, auth: Auth) -> None:
    token = auth.issue()
    auth.waiting.clear()
    requests = [asyncio.create_task(client.get(PATH, headers=bearer(token))) for _ in range(30)]

    async def asked() -> bool:
        return len(auth.asked) > 0

    await eventually(asked, what="a question")
    auth.waiting.set()
    assert {response.status_code for response in await asyncio.gather(*requests)} == {200}
    assert auth.asked == [token]


async def test_who_leaves_does_not_take_the_question_of_others_along(settings: GatewaySettings, auth: Auth) -> None:
    own = msgspec.structs.replace(settings, auth_url=auth.url)
    forwarder, limiter = Forwarder(own), Limiter(own.redis_url)
    await forwarder.open()
    exchanging = exchange.Exchange(own, forwarder, limiter)
    token = auth.issue()
    auth.waiting.clear()
    first, second = (
        asyncio.create_task(exchanging.access_token(token, client="192.0.2.1", request_id="test")) for _ in "ab"
    )

    async def asked() -> bool:
        return len(auth.asked) > 0

    await eventually(asked, what="a question")
    first.cancel()
    await asyncio.wait({first})
    auth.waiting.set()
    assert (await second).startswith("eyJ")
    assert auth.asked == [token]
    await limiter.close()
    await forwarder.close()


async def test_a_misspelt_token_is_refused_without_asking_anybody(
    client: httpx.AsyncClient, auth: Auth, upstream: Upstream
) -> None:
    token = auth.issue()
    misspelt = [
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        token[:5] + ("A" if token[5] != "A" else "B") + token[6:],
        token[:-1],
        token + "A",
        token[:4],
        token[:10] + "é" + token[11:],
    ]
    for wrong in misspelt:
        response = await client.get(PATH, headers=[(b"Authorization", b"Bearer " + wrong.encode("latin-1"))])
        assert (response.status_code, response.json()["code"], response.json()["detail"]) == (401, *REFUSAL), wrong
        assert response.headers["www-authenticate"] == "Bearer"
    assert (auth.asked, upstream.requests) == ([], [])


async def test_a_wrong_token_is_asked_about_once_in_a_while(
    client: httpx.AsyncClient, auth: Auth, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = new_token()
    for path in (PATH, "/api/v1/races", "/api/v1/stream"):
        for _ in range(5):
            response = await client.get(path, headers=bearer(wrong))
            assert (response.status_code, response.json()["code"], response.json()["detail"]) == (401, *REFUSAL)
    assert (auth.asked, upstream.requests) == ([wrong], [])
    monkeypatch.setattr(exchange, "REFUSED_SECONDS", 0.0)
    other = new_token()
    for _ in range(3):
        assert (await client.get(PATH, headers=bearer(other))).status_code == 401
    assert auth.asked == [wrong, other, other, other]


async def test_guessing_ends_at_the_limit_of_the_address_and_leaves_known_tokens_alone(
    start: Starter, auth: Auth
) -> None:
    client = await start(auth_url=auth.url, gateway_limit_exchange_per_minute=4)
    good = auth.issue()
    assert (await client.get(PATH, headers=bearer(good))).status_code == 200
    statuses = []
    for _ in range(10):
        response = await client.get(PATH, headers=bearer(new_token()))
        statuses.append(response.status_code)
    assert statuses == [401] * 3 + [429] * 7
    assert int(response.headers["retry-after"]) > 0
    assert len(auth.asked) == 4
    assert (await client.get(PATH, headers=bearer(good))).status_code == 200


async def test_an_access_token_is_replaced_before_it_ends(
    client: httpx.AsyncClient, auth: Auth, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MARGIN_SECONDS", 29.5)
    token = auth.issue(life=30)

    async def replaced() -> bool:
        assert (await client.get(PATH, headers=bearer(token))).status_code == 200
        return len(auth.asked) > 1

    await eventually(replaced, what="a second question")
    assert len({authorization(request) for request in upstream.requests}) == 2


async def test_what_is_remembered_is_bounded(
    client: httpx.AsyncClient, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "KNOWN", 2)
    first, second, third = (auth.issue() for _ in range(3))
    for token in (first, second, first, third, first, second):
        assert (await client.get(PATH, headers=bearer(token))).status_code == 200
    assert auth.asked == [first, second, third, second], "the one that was used least lately goes"


async def test_auth_away_stops_new_tokens_alone(
    start: Starter, auth: Auth, tokens: TokenMaker, serving: Serving
) -> None:
    cached, fresh = auth.issue(), auth.issue()
    async with serving(auth) as url:
        client = await start(auth_url=url)
        assert (await client.get(PATH, headers=bearer(cached))).status_code == 200
    response = await client.get(PATH, headers=bearer(fresh))
    assert (response.status_code, response.json()["code"]) == (503, "exchange_unavailable")
    assert response.headers["retry-after"] == "1"
    assert (await client.get(PATH, headers=bearer(cached))).status_code == 200
    assert (await client.get(PATH, headers=tokens.headers())).status_code == 200
    assert (await client.get("/api/v1/races")).status_code == 200


async def test_an_odd_answer_of_auth_is_a_503_and_is_not_remembered(client: httpx.AsyncClient, auth: Auth) -> None:
    for odd in ((500, b""), (404, b"{}"), (200, b"{"), (200, b"{}"), (200, b"[]"), (302, b"")):
        token = auth.issue()
        auth.answer = odd
        response = await client.get(PATH, headers=bearer(token))
        assert (response.status_code, response.json()["code"]) == (503, "exchange_unavailable"), odd
        auth.answer = None
        assert (await client.get(PATH, headers=bearer(token))).status_code == 200


async def test_an_auth_that_says_nothing_is_a_503_after_a_while(
    client: httpx.AsyncClient, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "ASK_SECONDS", 0.3)
    auth.waiting.clear()
    response = await client.get(PATH, headers=bearer(auth.issue()))
    assert (response.status_code, response.json()["code"]) == (503, "exchange_unavailable")
    auth.waiting.set()


async def test_an_access_token_that_does_not_verify_lets_nobody_in(
    client: httpx.AsyncClient, auth: Auth, upstream: Upstream
) -> None:
    token = auth.issue(aud="elsewhere")
    for _ in range(2):
        assert (await client.get(PATH, headers=bearer(token))).status_code == 401
    assert upstream.requests == []


async def test_requests_count_for_the_user_however_they_come(start: Starter, auth: Auth, tokens: TokenMaker) -> None:
    client = await start(auth_url=auth.url, gateway_limit_user_per_minute=3)
    user_id = uuid4()
    programs = [bearer(auth.issue(sub=str(user_id))) for _ in range(2)]
    callers = [*programs, tokens.headers(user_id), programs[0]]
    statuses = [(await client.get(PATH, headers=caller)).status_code for caller in callers]
    assert statuses == [200, 200, 200, 429]


async def test_routes_that_ignore_tokens_ignore_personal_ones(
    client: httpx.AsyncClient, auth: Auth, upstream: Upstream
) -> None:
    token = auth.issue()
    await client.post("/api/v1/auth/login", json={}, headers=bearer(token))
    assert (await client.get("/health/live", headers=bearer(token))).status_code == 200
    assert auth.asked == []
    assert token not in str(upstream.requests)


async def test_two_authorizations_are_refused(client: httpx.AsyncClient, auth: Auth, upstream: Upstream) -> None:
    headers = [("Authorization", f"Bearer {auth.issue()}"), ("Authorization", f"Bearer {auth.issue()}")]
    assert (await client.get(PATH, headers=headers)).status_code == 401
    assert upstream.requests == []


async def test_the_way_to_exchange_is_closed_to_clients(client: httpx.AsyncClient, auth: Auth) -> None:
    for method in ("POST", "GET"):
        response = await client.request(method, "/internal/tokens/exchange", headers=bearer(auth.issue()))
        assert response.status_code == 404


@pytest.fixture
async def revoke(prepared: Servers) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """End a session, as a relay tells it."""
    client = await topology.connect(prepared.nats_url, "test")

    async def tell(session_id: str) -> None:
        event = SessionRevoked(user_id=uuid4(), session_ids=[UUID(session_id)], reason="test", revoked_at=clock.now())
        headers = {"Nats-Msg-Id": uuid4().hex}
        await client.jetstream().publish(event.subject, encode(event), headers=headers)

    yield tell
    await client.close()


async def test_a_revoked_token_is_refused_within_two_seconds_though_it_was_remembered(
    client: httpx.AsyncClient, auth: Auth, revoke: Callable[[str], Awaitable[None]]
) -> None:
    token = auth.issue()
    assert (await client.get(PATH, headers=bearer(token))).status_code == 200
    session_id = auth.known.pop(token)["sid"]
    await revoke(session_id)

    async def refused() -> bool:
        return (await client.get(PATH, headers=bearer(token))).status_code == 401

    await eventually(refused, seconds=2, what="the refusal")
    assert auth.asked == [token, token], "the one answer was dropped, and the other one remembered"


async def test_a_token_that_is_good_again_is_exchanged_anew(
    client: httpx.AsyncClient,
    auth: Auth,
    revoke: Callable[[str], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(denials, "SKEW_SECONDS", 0)
    token = auth.issue()
    assert (await client.get(PATH, headers=bearer(token))).status_code == 200
    claims = auth.known.pop(token)
    await revoke(claims["sid"])

    async def refused() -> bool:
        return (await client.get(PATH, headers=bearer(token))).status_code == 401

    await eventually(refused, seconds=2, what="the refusal")
    auth.known[token] = claims

    async def back() -> bool:
        return (await client.get(PATH, headers=bearer(token))).status_code == 200

    await eventually(back, seconds=20, what="the account's return")


async def test_the_live_stream_asks_for_its_scope(client: httpx.AsyncClient, auth: Auth) -> None:
    refused = await client.get("/api/v1/stream", headers=bearer(auth.issue()))
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    headers = bearer(auth.issue(scope="stream:read"))
    async with client.stream("GET", "/api/v1/stream", headers=headers) as response:
        assert response.status_code == 200


async def test_a_stream_ends_with_the_token_it_was_asked_for_with(
    start: Starter, auth: Auth, revoke: Callable[[str], Awaitable[None]]
) -> None:
    client = await start(auth_url=auth.url, gateway_heartbeat_seconds=0.1)
    token = auth.issue(scope="stream:read")
    async with client.stream("GET", "/api/v1/stream", headers=bearer(token)) as response:
        await revoke(auth.known[token]["sid"])
        async with asyncio.timeout(5):
            await response.aread()
