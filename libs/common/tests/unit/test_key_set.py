"""The keys of `auth` as others have them: fresh, asked for rarely, and there when `auth` is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from common import key_set
from common.errors import UnauthorizedError, UnavailableError
from common.key_set import KeySet
from common.security import TokenVerifier
from devstack.testing import TokenMaker, eventually


def jwk(key_id: str) -> dict[str, Any]:
    document = jwt.algorithms.OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key(), as_dict=True)
    return {**document, "kid": key_id, "alg": "EdDSA", "use": "sig"}


class Auth:
    """Serves keys, counts who asks, and can be away."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked = 0
        self.away = False
        self.hold = asyncio.Event()
        self.hold.set()
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        if not self.away:
            await reader.readuntil(b"\r\n\r\n")
            await self.hold.wait()
            body = json.dumps({"keys": self.keys}).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()


@pytest.fixture
async def auth() -> AsyncIterator[Auth]:
    server = Auth()
    async with await asyncio.start_server(server.answer, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server


class Clock:
    """A monotonic clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(key_set, "monotonic", clock)
    return clock


async def settled(keys: KeySet) -> None:
    """Wait for the fetch that is under way."""
    if keys._fetching:
        await keys._fetching


async def test_auth_away_is_told_as_unavailable_and_asked_once_however_many_call(auth: Auth, clock: Clock) -> None:
    auth.away = True
    keys = KeySet(auth.url)
    answers = await asyncio.gather(*(keys.find("any") for _ in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {UnavailableError}
    assert auth.asked == 1
    auth.away, auth.keys = False, [jwk("one")]
    clock.now += key_set.RETRY_SECONDS
    assert await keys.find("one") is not None


async def test_a_thousand_random_key_ids_cost_one_fetch_in_ten_seconds(auth: Auth, clock: Clock) -> None:
    auth.keys = [jwk("one")]
    keys = KeySet(auth.url)
    assert await keys.find("one") is not None
    for _ in range(3):
        before = auth.asked
        clock.now += key_set.REFETCH_SECONDS
        found = await asyncio.gather(*(keys.find(uuid4().hex) for _ in range(500)))
        found += [await keys.find(uuid4().hex) for _ in range(500)]
        assert found == [None] * 1000
        assert auth.asked - before == 1
    assert key_set.REFETCH_SECONDS >= 10


async def test_a_new_key_is_found_when_a_token_names_it(auth: Auth, clock: Clock) -> None:
    auth.keys = [jwk("one")]
    keys = KeySet(auth.url)
    await keys.find("one")
    auth.keys.append(jwk("two"))
    assert await keys.find("two") is None, "not yet"
    clock.now += key_set.REFETCH_SECONDS
    assert await keys.find("two") is not None
    assert keys.changes == 2


async def test_an_aging_set_is_fetched_behind_the_back_of_its_callers(auth: Auth, clock: Clock) -> None:
    auth.keys = [jwk("one")]
    keys = KeySet(auth.url)
    await keys.find("one")
    clock.now += key_set.AGING_SECONDS
    auth.hold.clear()
    async with asyncio.timeout(1):
        assert await keys.find("one") is not None
    auth.keys = [jwk("two")]
    auth.hold.set()
    await settled(keys)
    assert await keys.find("one") is None
    assert keys.changes == 2


async def test_a_withdrawn_key_is_refused_within_a_minute_even_to_one_who_rarely_calls(
    auth: Auth, clock: Clock
) -> None:
    assert key_set.STALE_SECONDS + key_set.FETCH_SECONDS <= 60
    auth.keys = [jwk("one"), jwk("two")]
    keys = KeySet(auth.url)
    await keys.find("one")
    auth.keys = [jwk("two")]
    clock.now += key_set.STALE_SECONDS
    assert await keys.find("one") is None


async def test_known_keys_serve_for_hours_while_auth_is_away_and_nobody_waits_for_it(auth: Auth, clock: Clock) -> None:
    auth.keys = [jwk("one")]
    keys = KeySet(auth.url)
    await keys.find("one")
    auth.away = True
    for _ in range(90):
        clock.now += 60
        assert await keys.find("one") is not None
        await settled(keys)
    asked = auth.asked
    auth.away = False
    auth.hold.clear()
    clock.now += 60
    async with asyncio.timeout(1):
        assert await keys.find("one") is not None, "known to be away, so asked in the background"

    async def asked_again() -> bool:
        return auth.asked > asked

    await eventually(asked_again, what="another try")
    auth.hold.set()
    await settled(keys)
    assert not keys._failing


async def test_while_auth_is_away_it_is_asked_once_in_ten_seconds(auth: Auth, clock: Clock) -> None:
    auth.keys = [jwk("one")]
    keys = KeySet(auth.url)
    await keys.find("one")
    auth.away = True
    before = auth.asked
    for _ in range(60):
        clock.now += 1
        await keys.find("one")
        await keys.find(uuid4().hex)
        await settled(keys)
    assert auth.asked - before <= 6


async def test_keys_that_nobody_has_confirmed_for_long_are_no_longer_believed(auth: Auth, clock: Clock) -> None:
    auth.keys = [jwk("one")]
    keys = KeySet(auth.url)
    await keys.find("one")
    auth.away = True
    clock.now += key_set.BELIEVED_SECONDS + 1
    with pytest.raises(UnavailableError):
        await keys.find("one")
    assert key_set.BELIEVED_SECONDS >= 3600


async def test_no_key_but_a_public_one_of_ed25519_is_taken(auth: Auth) -> None:
    good = jwk("good")
    other = jwt.algorithms.OKPAlgorithm.to_jwk(Ed448PrivateKey.generate().public_key(), as_dict=True)
    private = jwt.algorithms.OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True)
    rsa = jwt.algorithms.RSAAlgorithm.to_jwk(generate_private_key(65537, 2048).public_key(), as_dict=True)
    symmetric = {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "alg": "HS256"}
    named = {"other": other, "private": private, "rsa": rsa, "symmetric": symmetric, "odd": {"kty": "?"}}
    auth.keys = [good, *({**key, "kid": name} for name, key in named.items()), {**jwk("x"), "kid": None}]
    keys = KeySet(auth.url)
    assert await keys.find("good") is not None
    assert set(keys._keys) == {"good"}


@pytest.mark.parametrize("body", [[], [{"kty": "?"}], "none", [1], {"a": 1}])
async def test_an_answer_that_is_no_set_of_keys_is_as_good_as_none(auth: Auth, body: Any) -> None:
    auth.keys = body
    with pytest.raises(UnavailableError):
        await KeySet(auth.url).find("one")


async def test_a_known_key_serves_while_auth_is_away(tokens: TokenMaker) -> None:
    maker = TokenMaker()
    verifier = TokenVerifier("paddock", "paddock-api", KeySet(maker.url))
    token = maker.make()
    await verifier.verify(token)
    maker.close()
    assert (await verifier.verify(maker.make())).username == "somebody"
    with pytest.raises(UnauthorizedError):
        await verifier.verify(tokens.make())
