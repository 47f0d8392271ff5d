"""The key set of `auth`, when `auth` does not answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from common.errors import UnauthorizedError, UnavailableError
from common.key_set import KeySet
from common.security import TokenVerifier
from devstack.testing import TokenMaker


class Refusing:
    """A server that ends every connection at once, and counts them."""

    def __init__(self) -> None:
        self.connections = 0

    async def accept(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


@pytest.fixture
async def refusing() -> AsyncIterator[tuple[Refusing, str]]:
    counter = Refusing()
    async with await asyncio.start_server(counter.accept, "127.0.0.1", 0) as server:
        yield counter, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_auth_away_is_told_as_unavailable_and_asked_once_however_many_call(
    refusing: tuple[Refusing, str],
) -> None:
    counter, url = refusing
    keys = KeySet(url)
    answers = await asyncio.gather(*(keys.find("any") for _ in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {UnavailableError}
    assert counter.connections == 1


async def test_a_known_key_serves_while_auth_is_away(tokens: TokenMaker) -> None:
    maker = TokenMaker()
    verifier = TokenVerifier("paddock", "paddock-api", KeySet(maker.url))
    token = maker.make()
    await verifier.verify(token)
    maker.close()
    assert (await verifier.verify(token)).username == "somebody"
    with pytest.raises(UnauthorizedError):
        await verifier.verify(tokens.make())
