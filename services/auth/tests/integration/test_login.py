"""Starting a session: by name or address, by JSON or form, and no hint to whoever guesses."""

import asyncio
import time
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import msgspec
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from auth.app import create_app
from auth.settings import AuthSettings
from common.db import Database
from devstack.testing import eventually, running

PATH = "/api/v1/auth/login"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def sessions(database: Database) -> int:
    async with database.transaction() as session:
        return int(await session.scalar(text("SELECT count(*) FROM sessions")) or 0)


async def test_a_login_gives_a_pair_of_tokens(client: httpx.AsyncClient, account: dict[str, str]) -> None:
    response = await client.post(PATH, json={"username": account["username"], "password": account["password"]})
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in", "device_token"}
    assert (body["token_type"], body["expires_in"]) == ("bearer", 900)
    assert body["refresh_token"].startswith("pdr_")


async def test_an_access_token_has_the_claims_of_its_kind(client: httpx.AsyncClient, account: dict[str, str]) -> None:
    credentials = {"username": account["username"], "password": account["password"]}
    tokens = [(await client.post(PATH, json=credentials)).json()["access_token"] for _ in range(2)]
    header = jwt.get_unverified_header(tokens[0])
    first, second = (jwt.decode(token, options={"verify_signature": False}) for token in tokens)
    assert set(header) == {"alg", "typ", "kid"}
    assert (header["alg"], header["typ"]) == ("EdDSA", "at+jwt")
    assert set(first) == {"sub", "username", "iss", "aud", "iat", "exp", "jti", "sid", "email_verified"}
    assert (first["iss"], first["aud"], first["username"]) == ("paddock", "paddock-api", account["username"])
    assert first["exp"] - first["iat"] == 900
    assert first["sub"] == second["sub"]
    assert first["jti"] != second["jti"]


@pytest.mark.parametrize("field", ["username", "email"])
@pytest.mark.parametrize("change", [str, str.upper, str.title])
async def test_name_and_address_log_in_in_any_case(
    client: httpx.AsyncClient, account: dict[str, str], field: str, change: Any
) -> None:
    body = {"username": change(account[field]), "password": account["password"]}
    assert (await client.post(PATH, json=body)).status_code == 200
    assert (await client.post(PATH, data=body)).status_code == 200


@pytest.mark.parametrize(
    "extra",
    [{}, {"grant_type": "password"}, {"grant_type": "password", "scope": "", "client_id": "", "client_secret": ""}],
)
async def test_the_form_of_oauth2_logs_in(
    client: httpx.AsyncClient, account: dict[str, str], extra: dict[str, str]
) -> None:
    form = {"username": account["username"], "password": account["password"]} | extra
    response = await client.post(PATH, data=form)
    assert response.status_code == 200
    assert response.json()["token_type"] == "bearer"


async def test_a_form_carries_any_password(client: httpx.AsyncClient, registration: dict[str, str]) -> None:
    password = "Ünï+code & =1%00\x00🏎"
    await client.post("/api/v1/auth/register", json=registration | {"password": password})
    response = await client.post(PATH, data={"username": registration["username"], "password": password})
    assert response.status_code == 200


async def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(
    client: httpx.AsyncClient, account: dict[str, str], database: Database
) -> None:
    before = await sessions(database)
    answers = set()
    for username in (
        account["username"],
        account["email"],
        "nobody_at_all",
        "nobody@example.com",
        "ünknown",
        "' OR 1=1 --",
    ):
        body = {"username": username, "password": "Wrong password 1"}
        for response in (await client.post(PATH, json=body), await client.post(PATH, data=body)):
            problem = response.json()
            del problem["request_id"]
            answers.add((response.status_code, response.headers["www-authenticate"], str(problem)))
    assert len(answers) == 1
    status, _, problem = answers.pop()
    assert status == 401
    assert "invalid_credentials" in problem
    assert await sessions(database) == before


async def test_the_password_hash_does_not_log_in(
    client: httpx.AsyncClient, account: dict[str, str], database: Database
) -> None:
    async with database.transaction() as session:
        query = text("SELECT password_hash FROM users WHERE username = :username")
        stored = await session.scalar(query, {"username": account["username"]})
    assert (await client.post(PATH, json={"username": account["username"], "password": stored})).status_code == 401


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b'{"username": "a"', "application/json", 400, "malformed_request"),
        (b"[]", "application/json", 422, "invalid_request"),
        (b"null", "application/json", 422, "invalid_request"),
        (b"", "application/json", 422, "invalid_request"),
        (b'{"username": "abc"}', "application/json", 422, "invalid_request"),
        (b'{"username": 1, "password": 2}', "application/json", 422, "invalid_request"),
        (b'{"username": "", "password": "x"}', "application/json", 422, "invalid_request"),
        (b'{"username": "abc", "password": ""}', "application/json", 422, "invalid_request"),
        (b'{"username": "abc\\u0000", "password": "x"}', "application/json", 422, "invalid_value"),
        (b'{"username": "abc", "password": "x", "grant_type": "implicit"}', "application/json", 422, "invalid_request"),
        (b'{"username": "abc", "password": "' + b"x" * 257 + b'"}', "application/json", 422, "invalid_request"),
        (b'{"username": "abc", "password": "' + b"x" * 2_000_000 + b'"}', "application/json", 413, "body_too_large"),
        (b"username=abc", FORM["Content-Type"], 422, "invalid_request"),
        (b"username=abc&username=abc&password=x", FORM["Content-Type"], 422, "invalid_request"),
        (b"username=abc&password=x&grant_type=implicit", FORM["Content-Type"], 422, "invalid_request"),
        (b"username=abc%00&password=x", FORM["Content-Type"], 422, "invalid_value"),
        (b"username=abc&password=%ff%fe", FORM["Content-Type"], 400, "malformed_request"),
        (b"username=abc&password=\xff\xfe", FORM["Content-Type"], 400, "malformed_request"),
        (b"&".join(b"a=1" for _ in range(1000)), FORM["Content-Type"], 400, "malformed_request"),
        (b"username=abc&password=" + b"x" * 2_000_000, FORM["Content-Type"], 413, "body_too_large"),
        (b'{"username": "abc", "password": "x"}', "text/plain", 415, "unsupported_media_type"),
        (b'{"username": "abc", "password": "x"}', "", 415, "unsupported_media_type"),
        (b"--b\r\n", "multipart/form-data; boundary=b", 415, "unsupported_media_type"),
        (b"\x80", "application/x-msgpack", 415, "unsupported_media_type"),
    ],
)
async def test_a_body_that_is_no_login_is_refused(
    client: httpx.AsyncClient, database: Database, body: bytes, kind: str, status: int, code: str
) -> None:
    before = await sessions(database)
    response = await client.post(PATH, content=body, headers={"Content-Type": kind})
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert await sessions(database) == before


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
async def test_a_content_type_is_read_as_http_says(
    client: httpx.AsyncClient, account: dict[str, str], kind: str
) -> None:
    body = f'{{"username": "{account["username"]}", "password": "{account["password"]}"}}'
    assert (await client.post(PATH, content=body, headers={"Content-Type": kind})).status_code == 200
    form = urlencode({"username": account["username"], "password": account["password"]})
    headers = {"Content-Type": kind.replace("json", "x-www-form-urlencoded").replace("JSON", "X-WWW-Form-URLencoded")}
    assert (await client.post(PATH, content=form, headers=headers)).status_code == 200


async def test_what_a_login_claims_beside_its_credentials_has_no_effect(
    client: httpx.AsyncClient, account: dict[str, str]
) -> None:
    body = {
        "username": account["username"],
        "password": account["password"],
        "sub": "root",
        "is_admin": True,
        "exp": 9e9,
    }
    tokens = (await client.post(PATH, json=body)).json()
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert claims["sub"] != "root"
    assert "is_admin" not in claims


async def test_a_flood_of_logins_is_told_to_come_back_and_leaves_the_rest_alone(
    settings: AuthSettings, account: dict[str, str]
) -> None:
    crowded = msgspec.structs.replace(settings, bcrypt_cost=9, hash_threads=1, hash_queue=1)
    async with running(create_app(crowded)) as client:
        body = {"username": "nobody_at_all", "password": "Wrong password 1"}
        responses = await asyncio.gather(*(client.post(PATH, json=body) for _ in range(20)))
        assert sorted({response.status_code for response in responses}) == [401, 503]
        refused = [response for response in responses if response.status_code == 503]
        assert {(response.json()["code"], response.headers["retry-after"]) for response in refused} == {("busy", "2")}
        right = {"username": account["username"], "password": account["password"]}
        assert (await client.post(PATH, json=right)).status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ("deactivated_at = now()", 403, "user_inactive"),
        ("must_reset_password = true", 403, "password_reset_required"),
        ("deleted_at = now()", 401, "invalid_credentials"),
    ],
)
async def test_an_account_that_is_not_to_be_used_says_so_to_whoever_knows_the_password(
    newcomer: Any, database: Database, change: str, status: int, code: str
) -> None:
    someone = await newcomer()
    before = await sessions(database)
    async with database.transaction() as session:
        await session.execute(text(f"UPDATE users SET {change} WHERE id = :id"), {"id": someone.id})
    right, wrong = await someone.log_in(), await someone.log_in("Wrong password 1")
    assert (right.status_code, right.json()["code"]) == (status, code)
    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_credentials")
    assert await sessions(database) == before


async def test_a_deleted_name_can_be_taken_again_and_only_the_new_one_logs_in(
    newcomer: Any, database: Database
) -> None:
    first = await newcomer()
    async with database.transaction() as session:
        await session.execute(text("UPDATE users SET deleted_at = now() WHERE id = :id"), {"id": first.id})
    second = await newcomer(first.username, password="Another-Lap-7")
    assert (await second.log_in()).status_code == 200
    assert (await first.log_in()).status_code == 401


async def hash_of(database: Database, username: str) -> str:
    async with database.transaction() as session:
        query = text("SELECT password_hash FROM users WHERE username = :username")
        return str(await session.scalar(query, {"username": username}))


async def test_a_login_hashes_anew_what_was_hashed_at_another_cost(
    settings: AuthSettings, account: dict[str, str], database: Database
) -> None:
    body = {"username": account["username"], "password": account["password"]}
    old = await hash_of(database, account["username"])
    async with running(create_app(msgspec.structs.replace(settings, bcrypt_cost=5))) as client:
        assert (await client.post(PATH, json=body | {"password": "Wrong password 1"})).status_code == 401
        assert await hash_of(database, account["username"]) == old
        assert (await client.post(PATH, json=body)).status_code == 200
        renewed = await hash_of(database, account["username"])
        assert renewed.startswith("$2b$05$")
        assert (await client.post(PATH, json=body)).status_code == 200
        assert await hash_of(database, account["username"]) == renewed, "once"


async def test_a_login_is_refused_when_the_password_changes_while_it_is_checked(
    settings: AuthSettings, account: dict[str, str], database: Database
) -> None:
    slow = create_app(msgspec.structs.replace(settings, bcrypt_cost=10))  # fills up to 2^10 rounds, and rehashes
    async with running(slow) as client:
        body = {"username": account["username"], "password": account["password"]}
        late = asyncio.create_task(client.post(PATH, json=body))

        async def hashing() -> bool:
            return bool(slow.state.hasher.inside)

        await eventually(hashing, what="a password being hashed")
        async with database.transaction() as session:
            query = text("UPDATE users SET password_hash = :hash WHERE username = :username")
            await session.execute(query, {"hash": "$2b$04$" + "." * 53, "username": account["username"]})
        response = await late
    assert (response.status_code, response.json()["code"]) == (401, "invalid_credentials")


async def test_a_password_of_a_mebibyte_is_refused_at_once_and_never_hashed(
    client: httpx.AsyncClient, account: dict[str, str]
) -> None:
    long = b'{"username": "%s", "password": "%s"}' % (account["username"].encode(), b"x" * (1024 * 1024))
    longest = b'{"username": "%s", "password": "%s"}' % (account["username"].encode(), b"x" * (1024 * 1024 - 100))
    before = REGISTRY.get_sample_value("auth_password_rounds_total")
    for body, status in ((long, 413), (longest, 422)):
        seconds = []
        for _ in range(20):
            started = time.perf_counter()
            response = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})
            seconds.append(time.perf_counter() - started)
            assert response.status_code == status
        assert min(seconds) < 0.005
    assert REGISTRY.get_sample_value("auth_password_rounds_total") == before


async def test_two_hundred_logins_at_once_leave_the_other_endpoints_alone(
    settings: AuthSettings, newcomer: Any
) -> None:
    someone = await newcomer()
    crowded = create_app(msgspec.structs.replace(settings, bcrypt_cost=8, hash_threads=2, hash_queue=16))
    async with running(crowded) as client:
        bodies = [{"username": f"nobody_{number}", "password": "Wrong password 1"} for number in range(200)]
        flood = asyncio.gather(*(client.post(PATH, json=body) for body in bodies))
        seen = 0
        while not flood.done():
            assert (await client.get("/api/v1/users/me", headers=someone.headers)).status_code == 200
            assert crowded.state.hasher.inside <= 18
            seen += 1
        statuses = [response.status_code for response in await flood]
    assert set(statuses) == {401, 503}
    assert statuses.count(401) >= 18
    assert seen > 1
