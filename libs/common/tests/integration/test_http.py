"""One request is one transaction, and every error is a problem."""

import asyncio
import gc
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from litestar import get, post
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock
from common.app import service_app
from common.db import Database
from common.errors import ConflictError, NotFoundError
from common.http import BEARER, problems
from common.security import Principal
from common.settings import Settings
from devstack.testing import TokenMaker, running


class Note(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    note: str


@post("/notes", responses=problems(409))
async def add_note(data: Note, session: AsyncSession) -> Note:
    await session.execute(text("INSERT INTO notes (id, note) VALUES (:id, :note)"), {"id": data.id, "note": data.note})
    if data.note == "refuse":
        raise ConflictError("refused", "This note is refused.")
    if data.note == "crash":
        raise RuntimeError("secret internals")
    return data


@post("/deferred")
async def fail_at_commit(session: AsyncSession) -> None:
    await session.execute(text("CREATE TEMP TABLE doomed (id int UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP"))
    await session.execute(text("INSERT INTO doomed VALUES (1), (1)"))


@get("/notes/{note_id:int}", responses=problems(404))
async def read_note(note_id: int, session: AsyncSession) -> Note:
    row = (await session.execute(text("SELECT id, note FROM notes WHERE id = :id"), {"id": note_id})).first()
    if row is None:
        raise NotFoundError("no_note", "There is no such note.")
    return Note(id=row.id, note=row.note)


@get("/whoami", security=BEARER)
async def whoami(principal: Principal) -> UUID:
    return principal.user_id


@get("/mine", security=BEARER)
async def mine(principal: Principal, session: AsyncSession) -> UUID:
    await session.execute(text("SELECT 1"))
    return principal.user_id


@pytest.fixture
async def client(database: Database, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = service_app(
        database.schema, settings, title="Notes", route_handlers=[add_note, read_note, whoami, mine, fail_at_commit]
    )
    async with running(app) as http:
        yield http


async def count(database: Database) -> int:
    async with database.transaction() as session:
        return int(await session.scalar(text("SELECT count(*) FROM notes")) or 0)


async def test_a_request_is_committed_before_it_is_answered(client: httpx.AsyncClient, database: Database) -> None:
    response = await client.post("/notes", json={"id": 1, "note": "grid"})
    assert response.status_code == 201
    assert await count(database) == 1


async def test_an_error_rolls_the_request_back(client: httpx.AsyncClient, database: Database) -> None:
    response = await client.post("/notes", json={"id": 1, "note": "refuse"})
    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "refused"
    assert await count(database) == 0


async def test_a_failing_commit_is_not_answered_with_success(client: httpx.AsyncClient) -> None:
    assert (await client.post("/deferred")).status_code == 500


async def test_a_bug_is_a_500_without_internals_and_with_the_request_id(client: httpx.AsyncClient) -> None:
    response = await client.post("/notes", json={"id": 1, "note": "crash"}, headers={"X-Request-Id": "lap-57-pit"})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["request_id"] == "lap-57-pit"
    assert response.headers["x-request-id"] == "lap-57-pit"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"id": 1, "note":', 400, "malformed_request"),
        (b'{"id": "one", "note": "x"}', 422, "invalid_request"),
        (b'{"id": 1}', 422, "invalid_request"),
        (b'{"id": 1, "note": "x", "admin": true}', 422, "invalid_request"),
        (b'{"id": 99999999999999999999999, "note": "x"}', 422, "invalid_value"),
        (b'{"id": 99999999999, "note": "x"}', 422, "invalid_value"),
        (b'{"id": 1, "note": "a\\u0000b"}', 422, "invalid_value"),
        (b"[]", 422, "invalid_request"),
        (b"\xff\xfe", 400, "malformed_request"),
        (b"[" * 100_000, 400, "malformed_request"),
        (b'{"id": 1, "note": "' + b"x" * 2_000_000 + b'"}', 413, "body_too_large"),
    ],
)
async def test_bad_input_is_a_problem_and_stores_nothing(
    client: httpx.AsyncClient, database: Database, body: bytes, status: int, code: str
) -> None:
    response = await client.post("/notes", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert await count(database) == 0


async def test_a_field_that_is_not_acceptable_is_named(client: httpx.AsyncClient) -> None:
    response = await client.post("/notes", json={"id": "one", "note": "x"})
    assert response.json()["errors"] == [{"field": "id", "message": "Expected `int`, got `str`"}]


async def test_an_unknown_path_and_a_wrong_method_are_problems(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nowhere")).json()["code"] == "not_found"
    assert (await client.delete("/whoami")).json()["code"] == "method_not_allowed"
    assert (await client.get("/notes/seven")).json()["code"] == "not_found"
    assert (await client.get("/notes/7")).json()["code"] == "no_note"


async def test_a_refused_caller_leaves_nothing_half_done(
    client: httpx.AsyncClient, tokens: TokenMaker, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        assert (await client.get("/mine")).status_code == 401
    gc.collect()
    await asyncio.sleep(0)
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
    assert (await client.get("/mine", headers=tokens.headers())).status_code == 200


async def test_a_valid_token_names_its_user(client: httpx.AsyncClient, tokens: TokenMaker) -> None:
    user_id = uuid4()
    response = await client.get("/whoami", headers=tokens.headers(user_id))
    assert response.json() == str(user_id)


def bad_tokens(tokens: TokenMaker) -> dict[str, str]:
    now = clock.now()
    good = tokens.make()
    public = tokens.private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    claims = jwt.decode(good, options={"verify_signature": False})
    head = {"kid": tokens.key_id, "typ": "at+jwt"}
    stranger = TokenMaker()
    other = jwt.encode(claims, stranger.private_key, "EdDSA", headers=head)
    stranger.close()
    return {
        "absent": "",
        "garbage": "a.b.c",
        "expired": tokens.make(exp=now - timedelta(minutes=1)),
        "not yet": tokens.make(nbf=now + timedelta(minutes=5)),
        "from the future": tokens.make(iat=now + timedelta(minutes=5)),
        "wrong issuer": tokens.make(iss="elsewhere"),
        "wrong audience": tokens.make(aud="elsewhere"),
        "no subject": tokens.make(sub=None),
        "odd subject": tokens.make(sub="root"),
        "no expiry": tokens.make(exp=None),
        "no name": tokens.make(username=""),
        "none algorithm": jwt.encode(claims, "", "none", headers=head),
        "public key as secret": jwt.encode(claims, public.hex() * 2, "HS256", headers=head),
        "another key": other,
        "unknown key id": jwt.encode(claims, tokens.private_key, "EdDSA", headers={**head, "kid": "nobody"}),
        "no key id": jwt.encode(claims, tokens.private_key, "EdDSA", headers={"typ": "at+jwt"}),
        "wrong type": jwt.encode(claims, tokens.private_key, "EdDSA", headers={**head, "typ": "JWT"}),
        "tampered": good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB"),
        "oversize": good + "A" * 65536,
    }


async def test_every_bad_token_is_refused_with_the_same_words(client: httpx.AsyncClient, tokens: TokenMaker) -> None:
    bodies = set()
    for name, token in bad_tokens(tokens).items():
        response = await client.get("/whoami", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 401, name
        assert response.headers["www-authenticate"] == "Bearer"
        body = response.json()
        bodies.add((body["code"], body["detail"]))
    assert bodies == {("invalid_token", "The access token is missing, expired or not valid.")}


async def test_health_tells_what_it_stands_on(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"status": "alive"}
    assert (await client.get("/health/ready")).status_code == 200
    assert (await client.get("/health")).json()["checks"][0]["name"] == "database"


async def test_metrics_name_the_route_and_not_the_path(client: httpx.AsyncClient) -> None:
    await client.get("/notes/4711")
    metrics = (await client.get("/metrics")).text
    assert "/notes/{note_id}" in metrics
    assert "4711" not in metrics


async def test_the_document_lists_the_errors_of_a_route(client: httpx.AsyncClient) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    assert set(document["paths"]["/notes"]["post"]["responses"]) == {"201", "400", "409", "413", "422", "503"}
    assert set(document["paths"]["/whoami"]["get"]["responses"]) == {"200", "401", "403", "503"}
