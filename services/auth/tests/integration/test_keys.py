"""Signing keys: one for all replicas, sealed in the database."""

import asyncio
from uuid import uuid4

import httpx
import msgspec
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from litestar import Litestar
from sqlalchemy import text

from auth import rotation
from auth.app import create_app
from auth.keys import KeySeal, SigningKeys
from auth.settings import AuthSettings
from common.db import Database
from devstack.testing import running


async def test_replicas_that_start_at_once_agree_on_one_key(fresh_settings: AuthSettings) -> None:
    databases = [Database(fresh_settings, "auth") for _ in range(4)]
    replicas = [SigningKeys(database, fresh_settings) for database in databases for _ in "ab"]
    signers = await asyncio.gather(*(replica.signer() for replica in replicas))
    published = await asyncio.gather(*(replica.published() for replica in replicas))
    for database in databases:
        await database.close()
    assert len({signer.key_id for signer in signers}) == 1
    assert {tuple(key["kid"] for key in keys) for keys in published} == {(signers[0].key_id,)}


async def test_a_private_key_is_not_readable_in_the_database(app: Litestar, database: Database) -> None:
    signer = await app.state.signing_keys.signer()
    async with database.transaction() as session:
        rows = (await session.scalars(text("SELECT signing_keys::text FROM signing_keys"))).all()
    assert len(rows) == 1
    assert signer.private_key.private_bytes_raw().hex() not in rows[0]


def test_a_sealed_key_opens_with_its_own_secret_and_id_alone() -> None:
    key_id, private_key = uuid4(), Ed25519PrivateKey.generate()
    seal = KeySeal("a secret of these tests alone")
    sealed = seal.close(key_id, private_key)
    assert seal.open(key_id, sealed).private_bytes_raw() == private_key.private_bytes_raw()
    assert seal.close(key_id, private_key) != sealed
    with pytest.raises(InvalidTag):
        KeySeal("another secret").open(key_id, sealed)
    with pytest.raises(InvalidTag):
        seal.open(uuid4(), sealed)
    with pytest.raises(InvalidTag):
        seal.open(key_id, sealed[:-1] + bytes([sealed[-1] ^ 1]))


async def test_a_wrong_encryption_secret_stops_issuing_and_not_verifying(
    settings: AuthSettings, client: httpx.AsyncClient, account: dict[str, str]
) -> None:
    credentials = {"username": account["username"], "password": account["password"]}
    tokens = (await client.post("/api/v1/auth/login", json=credentials)).json()
    wrong = msgspec.structs.replace(settings, key_encryption_secret="another secret, which is long enough")
    async with running(create_app(wrong)) as other:
        login = await other.post("/api/v1/auth/login", json=credentials)
        refreshed = await other.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        for response in (login, refreshed):
            assert (response.status_code, response.json()["code"]) == (503, "signing_unavailable")
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await other.get("/api/v1/auth/me", headers=headers)).status_code == 200
    again = await client.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert again.status_code == 200, "the refused refresh used nothing up"


async def test_keys_once_read_are_served_while_the_database_is_away(fresh_settings: AuthSettings) -> None:
    database = Database(fresh_settings, "auth")
    keys = SigningKeys(database, fresh_settings)
    before = await keys.published()
    await database.close()
    gone = fresh_settings.database_url.rsplit("/", 1)[0].rsplit(":", 1)[0] + ":1/nowhere"
    keys._database = Database(AuthSettings(database_url=gone), "auth")
    keys._read_at = float("-inf")
    assert await keys.published() == before
    assert await keys.find(before[0]["kid"]) is not None


async def test_an_unknown_key_id_costs_at_most_one_query_in_a_while(fresh_settings: AuthSettings) -> None:
    database = Database(fresh_settings, "auth")
    keys = SigningKeys(database, fresh_settings)
    known = (await keys.published())[0]["kid"]
    await database.close()
    keys._database = Database(AuthSettings(database_url="postgresql://nobody@127.0.0.1:1/nowhere"), "auth")
    for _ in range(100):
        assert await keys.find(uuid4().hex) is None
    assert await keys.find(known) is not None


async def test_a_change_of_the_keys_is_counted_and_a_look_at_them_is_not(fresh_settings: AuthSettings) -> None:
    database = Database(fresh_settings, "auth")
    keys = SigningKeys(database, fresh_settings)
    await keys.published()
    counted = [keys.changes]
    for change in (None, rotation.rotate, None):
        if change:
            await change(database, fresh_settings)
        keys._read_at = float("-inf")
        await keys.published()
        counted.append(keys.changes)
    await rotation.withdraw(database, fresh_settings, (await keys.signer()).key_id)
    keys._read_at = float("-inf")
    await keys.published()
    await database.close()
    assert [*counted, keys.changes] == [1, 1, 2, 2, 3]
