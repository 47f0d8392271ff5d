"""Another key signs, and nobody is turned away for it; a key that is withdrawn is believed no longer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import httpx
import msgspec
import pytest
import uvicorn
from litestar import Litestar
from sqlalchemy import text

from auth import keys, rotation
from auth.app import create_app
from auth.jwts import Bearer, access_token
from auth.settings import AuthSettings
from common import clock, key_set, security
from common.db import Database
from common.denials import KEPT_SECONDS, LONGEST_TOKEN_SECONDS
from common.errors import ConflictError, NotFoundError, UnauthorizedError
from common.key_set import KeySet
from common.security import TokenVerifier
from devstack.testing import eventually

SCALE = 100


@pytest.fixture
async def database(fresh_settings: AuthSettings) -> AsyncIterator[Database]:
    database = Database(fresh_settings, "auth")
    yield database
    await database.close()


@pytest.fixture
def quick(fresh_settings: AuthSettings, monkeypatch: pytest.MonkeyPatch) -> AuthSettings:
    """Everything that takes its time takes a hundredth of it, or less."""
    monkeypatch.setattr(key_set, "AGING_SECONDS", key_set.AGING_SECONDS / SCALE)
    monkeypatch.setattr(key_set, "STALE_SECONDS", key_set.STALE_SECONDS / SCALE)
    monkeypatch.setattr(key_set, "REFETCH_SECONDS", key_set.REFETCH_SECONDS / SCALE)
    monkeypatch.setattr(security, "SEEN_SECONDS", security.SEEN_SECONDS / SCALE)
    return msgspec.structs.replace(fresh_settings, key_publish_seconds=1)


class Replica:
    """One `auth` of several, as others reach it, and a service that has its keys from it."""

    def __init__(self, app: Litestar, url: str, settings: AuthSettings) -> None:
        self.keys: keys.SigningKeys = app.state.signing_keys
        self.settings = settings
        self.url = url
        self.service = TokenVerifier(settings.token_issuer, settings.token_audience, KeySet(url))

    async def token(self) -> str:
        """Sign as a login does."""
        bearer = Bearer(id=uuid4(), username="somebody", session_id=uuid4(), verified=True, scopes=None)
        return access_token(
            await self.keys.signer(),
            bearer,
            issuer=self.settings.token_issuer,
            audience=self.settings.token_audience,
            issued_at=clock.now(),
            life=timedelta(minutes=15),
        )

    async def signs_with(self) -> str:
        return (await self.keys.signer()).key_id


@contextlib.asynccontextmanager
async def replica(settings: AuthSettings) -> AsyncIterator[Replica]:
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False))
    task = asyncio.create_task(server._serve())

    async def started() -> bool:
        return server.started

    await eventually(started, what="a replica")
    try:
        yield Replica(app, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", settings)
    finally:
        server.should_exit = True
        await task


async def stored(database: Database) -> set[str]:
    async with database.transaction() as session:
        return {str(row).replace("-", "") for row in await session.scalars(text("SELECT id FROM signing_keys"))}


async def age(database: Database, **ago: float) -> None:
    """Make every key so much older."""
    async with database.transaction() as session:
        await session.execute(
            text("UPDATE signing_keys SET signs_from = signs_from - CAST(:ago AS interval)"), {"ago": timedelta(**ago)}
        )


async def published(url: str) -> set[str]:
    async with httpx.AsyncClient() as http:
        return {key["kid"] for key in (await http.get(f"{url}/.well-known/jwks.json")).json()["keys"]}


class Load:
    """Clients that log in at one replica and call a service which has its keys from another, with old tokens too."""

    def __init__(self, replicas: tuple[Replica, ...]) -> None:
        self.checked = self.refused = 0
        self._over = asyncio.Event()
        self._clients = [asyncio.create_task(self._call(a, b)) for a in replicas for b in replicas]

    async def _call(self, signer: Replica, service: Replica) -> None:
        held: list[str] = []
        while not self._over.is_set():
            held = [*held[-20:], await signer.token()]
            for token in held:
                self.refused += await is_refused(service.service, token)
                self.checked += 1
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        self._over.set()
        await asyncio.gather(*self._clients)


async def is_refused(verifier: TokenVerifier, token: str) -> bool:
    try:
        await verifier.verify(token)
    except UnauthorizedError:
        return True
    return False


async def takes_over(replicas: tuple[Replica, ...], key_id: str) -> None:
    async def taken_over() -> bool:
        return {key_id} == {await each.signs_with() for each in replicas}

    await eventually(taken_over, seconds=15, what="another key that signs")


async def test_three_rotations_under_load_refuse_nobody(quick: AuthSettings, database: Database) -> None:
    async with replica(quick) as one, replica(quick) as other:
        replicas = (one, other)
        load = Load(replicas)
        signers = [await one.signs_with()]
        for _ in range(3):
            signers.append(await rotation.rotate(database, quick))
            assert {await each.signs_with() for each in replicas} == {signers[-2]}, "published before it signs"
            await takes_over(replicas, signers[-1])
        await load.end()
        assert await published(one.url) == await published(other.url) == set(signers)
        assert len(set(signers)) == 4
    assert load.checked > 200
    assert load.refused == 0


async def test_a_withdrawn_key_is_refused_by_everybody_within_a_minute(quick: AuthSettings, database: Database) -> None:
    assert keys.RELOAD_SECONDS + (key_set.STALE_SECONDS + security.SEEN_SECONDS) * SCALE <= 60
    async with replica(quick) as one, replica(quick) as other:
        verifiers = [one.service, other.service]
        verifiers += [TokenVerifier("paddock", "paddock-api", each.keys) for each in (one, other)]
        compromised = await one.token()
        assert not any([await is_refused(each, compromised) for each in verifiers])
        began = clock.now()
        successor = await rotation.withdraw(database, quick, await one.signs_with())

        async def refused_everywhere() -> bool:
            return all([await is_refused(each, compromised) for each in verifiers])

        await eventually(refused_everywhere, seconds=10, what="a refusal by everybody")
        assert clock.now() - began < timedelta(seconds=3), "a minute, scaled, and the machine's hesitation"
        await takes_over((one, other), successor)

        async def believed() -> bool:
            return not any([await is_refused(each, await one.token()) for each in verifiers])

        await eventually(believed, seconds=10, what="a token that is believed again")


async def test_a_key_that_is_old_is_replaced_by_one_replica_of_many(
    fresh_settings: AuthSettings, database: Database
) -> None:
    await asyncio.gather(*(rotation.look(database, fresh_settings) for _ in range(4)))
    (first,) = await stored(database)
    assert await rotation.look(database, fresh_settings) is None
    await age(database, days=fresh_settings.key_days)
    replicas = [Database(fresh_settings, "auth") for _ in range(4)]
    made = await asyncio.gather(*(rotation.look(each, fresh_settings) for each in replicas for _ in "ab"))
    for each in replicas:
        await each.close()
    (new,) = [key_id for key_id in made if key_id]
    assert await stored(database) == {first, new}
    signing = keys.SigningKeys(database, fresh_settings)
    assert (await signing.signer()).key_id == first, "the new one is published first"
    await age(database, seconds=fresh_settings.key_publish_seconds)
    assert (await signing.signer()).key_id == first, "read a moment ago"
    signing._read_at = float("-inf")
    assert (await signing.signer()).key_id == new


async def test_a_replaced_key_is_published_until_its_last_token_has_expired(
    fresh_settings: AuthSettings, database: Database
) -> None:
    first = await rotation.rotate(database, fresh_settings, now=True)
    second = await rotation.rotate(database, fresh_settings, now=True)
    await age(database, seconds=LONGEST_TOKEN_SECONDS)
    await rotation.look(database, fresh_settings)
    assert await stored(database) == {first, second}
    await age(database, seconds=KEPT_SECONDS - LONGEST_TOKEN_SECONDS)
    await rotation.look(database, fresh_settings)
    assert await stored(database) == {second}


async def test_a_key_can_sign_at_once(fresh_settings: AuthSettings, database: Database) -> None:
    await rotation.rotate(database, fresh_settings)
    new = await rotation.rotate(database, fresh_settings, now=True)
    assert (await keys.SigningKeys(database, fresh_settings).signer()).key_id == new


async def test_a_key_sealed_with_another_secret_is_published_only_to_begin_that_secret(
    fresh_settings: AuthSettings, database: Database
) -> None:
    await rotation.rotate(database, fresh_settings, now=True)
    other = msgspec.structs.replace(fresh_settings, key_encryption_secret="another secret, which is long enough")
    with pytest.raises(ConflictError):
        await rotation.rotate(database, other)
    assert len(await stored(database)) == 1
    new = await rotation.rotate(database, other, now=True)
    assert (await keys.SigningKeys(database, other).signer()).key_id == new


async def test_withdrawing_one_that_does_not_sign_makes_no_other_and_an_unknown_one_is_told(
    fresh_settings: AuthSettings, database: Database
) -> None:
    old = await rotation.rotate(database, fresh_settings, now=True)
    current = await rotation.rotate(database, fresh_settings, now=True)
    waiting = await rotation.rotate(database, fresh_settings)
    assert await rotation.withdraw(database, fresh_settings, old) == current
    assert await rotation.withdraw(database, fresh_settings, waiting) == current
    assert await stored(database) == {current}
    for unknown in (uuid4().hex, "' OR 1=1 --", ""):
        with pytest.raises(NotFoundError):
            await rotation.withdraw(database, fresh_settings, unknown)


async def test_what_was_done_to_the_keys_is_written_down(fresh_settings: AuthSettings, database: Database) -> None:
    first = await rotation.look(database, fresh_settings)
    second = await rotation.rotate(database, fresh_settings, now=True)
    third = await rotation.withdraw(database, fresh_settings, second)
    async with database.transaction() as session:
        rows = (await session.execute(text("SELECT action, actor_kind, target_id FROM audit ORDER BY id"))).all()
    assert [(action, kind, target.hex) for action, kind, target in rows] == [
        ("key.publish", "system", first),
        ("key.publish", "operator", second),
        ("key.withdraw", "operator", second),
        ("key.publish", "operator", third),
    ]
