"""The copy of somebody's data: whole or not at all, theirs alone, and without a secret."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from litestar import Litestar
from sqlalchemy import text

from auth import audit
from auth.audit import Actor
from auth.origin import OPERATOR, Origin
from common.db import Database

PATH = "/users/me/export"
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)
TOKEN = {"name": "=cmd|' /C calc'!A0", "scopes": ["account:read"], "expires_in_days": 30}


class Neighbour:
    """A service that tells what it holds about the bearer of a token."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b'{"teams": []}'
        self.tokens: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        neighbour = self

        class Holdings(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.path == "/internal/export"
                neighbour.tokens.append(self.headers["Authorization"])
                self.send_response(neighbour.status)
                self.send_header("Content-Length", str(len(neighbour.body)))
                self.end_headers()
                self.wfile.write(neighbour.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's names
                pass

        return Holdings


@pytest.fixture
def leagues() -> Iterator[Neighbour]:
    neighbour = Neighbour()
    yield neighbour
    neighbour.close()


@pytest.fixture(autouse=True)
async def webhooks(app: Litestar, leagues: Neighbour) -> AsyncIterator[Neighbour]:
    """The service asks these two."""
    neighbour = Neighbour()
    neighbour.body = b'{"endpoints": []}'
    before = app.state.settings
    app.state.settings = msgspec.structs.replace(before, leagues_url=leagues.url, webhooks_url=f"{neighbour.url}/")
    yield neighbour
    app.state.settings = before
    neighbour.close()


def opened(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    with zipfile.ZipFile(io.BytesIO(response.content)) as zipped:
        assert zipped.testzip() is None
        files = {name: zipped.read(name) for name in zipped.namelist()}
    return {name: msgspec.json.decode(body) if name.endswith(".json") else body for name, body in files.items()}


async def test_the_archive_holds_everything_and_says_what_is_what(
    newcomer: Any, app: Litestar, leagues: Neighbour, database: Database
) -> None:
    someone = await newcomer(full_name="Ann Other")
    await someone.put("/users/me", phone=f"+4915166{str(uuid4().int)[:6]}")
    await someone.put("/users/me/preferences", theme="dark")
    made = await someone.call("POST", "/users/me/tokens", TOKEN)
    assert made.status_code == 201, made.text
    await app.state.avatars.put(someone.id, PIXEL, origin=OPERATOR)
    league = uuid4()
    async with database.transaction() as session:
        row = {"user": someone.id, "league": league}
        await session.execute(text("INSERT INTO league_members VALUES (:user, :league, NULL, 1)"), row)
    response = await someone.get(PATH)
    files = opened(response)
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"].startswith(f'attachment; filename="paddock-{someone.id}-')
    assert response.headers["cache-control"] == "no-store"
    assert files["account.json"]["email"] == someone.email
    assert files["account.json"]["phone"].startswith("+4915166")
    assert files["preferences.json"]["theme"] == "dark"
    assert [one["revoked_at"] for one in files["sessions.json"]] == [None]
    assert [one["name"] for one in files["personal_access_tokens.json"]] == [TOKEN["name"]]
    assert files["league_memberships.json"] == [{"league_id": str(league), "team_id": None}]
    assert files["leagues.json"] == {"teams": []}
    assert files["webhooks.json"] == {"endpoints": []}
    assert files["avatar.webp"][:4] == b"RIFF"
    actions = {entry["action"] for entry in files["audit.json"]["entries"]}
    assert {"profile.change", "avatar.change"} <= actions
    readme = files["README.txt"].decode()
    assert all(name in readme for name in files if name != "README.txt")
    assert leagues.tokens == [someone.headers["Authorization"]]


async def test_no_secret_and_nobody_else_is_in_it(newcomer: Any, database: Database) -> None:
    someone, other = await newcomer(), await newcomer(full_name="Somebody Else")
    made = (await someone.call("POST", "/users/me/tokens", TOKEN)).json()
    await other.call("POST", "/users/me/tokens", TOKEN | {"name": "not yours"})
    admin, stranger = Actor.admin(uuid4()), Origin(address="203.0.113.77", user_agent="spy", request_id="req-stranger")
    async with database.transaction() as session:
        await audit.record(
            session, "user.unlock", actor=admin, origin=stranger, target=someone.id, after={"why": "asked"}
        )
        hidden = (
            await session.execute(text("SELECT password_hash FROM users WHERE id = :id"), {"id": someone.id})
        ).scalar()
    files = opened(await someone.get(PATH))
    everything = b"".join(
        body if isinstance(body, bytes) else msgspec.json.encode(body) for body in files.values()
    ).decode()
    secrets = [someone.password, str(hidden), made["token"], someone.tokens["refresh_token"], "token_hash", "pdr_"]
    foreign = [str(other.id), other.username, other.email, "not yours", str(admin.id), "203.0.113.77", "req-stranger"]
    assert [word for word in [*secrets, *foreign] if word in everything] == []
    [entry] = [entry for entry in files["audit.json"]["entries"] if entry["action"] == "user.unlock"]
    assert entry == {
        "at": entry["at"],
        "actor": "admin",
        "action": "user.unlock",
        "before": None,
        "after": {"why": "asked"},
    }


async def test_every_name_in_the_archive_is_a_plain_file(newcomer: Any) -> None:
    someone = await newcomer(full_name="../../etc/passwd")
    response = await someone.get(PATH)
    with zipfile.ZipFile(io.BytesIO(response.content)) as zipped:
        for entry in zipped.infolist():
            path = PurePosixPath(entry.filename)
            assert (path.parts, path.is_absolute()) == ((entry.filename,), False)
            assert path.suffix in {".json", ".txt", ".webp"}, "nothing that a spreadsheet would run"
            assert entry.external_attr >> 16 == 0o600


@pytest.mark.parametrize("trouble", ["away", "refusing", "failing", "babbling"])
@pytest.mark.parametrize("service", ["leagues", "webhooks"])
async def test_a_copy_that_would_not_be_whole_is_not_given_and_not_counted(
    newcomer: Any, leagues: Neighbour, webhooks: Neighbour, service: str, trouble: str
) -> None:
    someone = await newcomer()
    neighbour = {"leagues": leagues, "webhooks": webhooks}[service]
    good = neighbour.body
    if trouble == "away":
        neighbour.close()
    elif trouble == "babbling":
        neighbour.body = b'{"teams": ['
    else:
        neighbour.status = {"refusing": 401, "failing": 500}[trouble]
    for _ in range(4):
        refused = await someone.get(PATH)
        assert (refused.status_code, refused.json()["code"]) == (503, "export_incomplete")
        assert int(refused.headers["retry-after"]) > 0
        assert service in refused.json()["detail"]
    if trouble != "away":
        neighbour.status, neighbour.body = 200, good
        assert (await someone.get(PATH)).status_code == 200


async def test_three_copies_a_day_also_when_asked_for_at_once(newcomer: Any) -> None:
    someone, other = await newcomer(), await newcomer()
    answers = await asyncio.gather(*(someone.get(PATH) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 3
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) > 3600
    assert (await other.get(PATH)).status_code == 200


async def test_a_program_gets_no_copy(newcomer: Any, client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/api/v1{PATH}")).status_code == 401
    someone = await newcomer()
    everything = ["account:read", "account:write"]
    made = (await someone.call("POST", "/users/me/tokens", TOKEN | {"scopes": everything})).json()
    exchanged = await client.post("/internal/tokens/exchange", json={"token": made["token"]})
    headers = {"Authorization": f"Bearer {exchanged.json()['access_token']}"}
    refused = await client.get(f"/api/v1{PATH}", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")


async def test_a_very_long_audit_log_is_shortened_and_says_so(
    newcomer: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auth.export.MOST_ENTRIES", 2)
    someone = await newcomer()
    for number in range(4):
        await record(database, someone.id, number)
    files = opened(await someone.get(PATH))
    told = files["audit.json"]
    assert told["entries_in_all"] > len(told["entries"]) == 2
    assert f"of {told['entries_in_all']} entries the newest 2" in files["README.txt"].decode()


async def record(database: Database, user_id: UUID, number: int) -> None:
    async with database.transaction() as session:
        actor = Actor.user(user_id)
        await audit.record(session, "test", actor=actor, origin=OPERATOR, target=user_id, after={"number": number})
