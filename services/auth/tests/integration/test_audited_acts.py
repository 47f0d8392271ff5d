"""S21: each act that matters leaves its entry, with who, whom, from where, in which request and trace."""

import io
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from litestar import Litestar
from PIL import Image
from sqlalchemy import select, text, update

from auth import admins, audit, rotation
from auth.admin_scopes import ADMIN_SCOPES
from auth.admins import NewAdmin
from auth.links import Links
from auth.models import Admin, AuditEntry, OneTimeToken, User
from auth.settings import AuthSettings
from common import clock
from common.db import Database
from devstack.testing import eventually

ADDRESS = "192.0.2.44"
PASSWORD = "Slipstream44"
NEW_PASSWORD = "Slipstream45"
LAST_PASSWORD = "Slipstream46"


class Actors:
    """A user and an admin, whose requests each have an id and a trace that the log is looked up by."""

    def __init__(self, client: httpx.AsyncClient, app: Litestar, settings: AuthSettings, database: Database) -> None:
        self.http = client
        self.app = app
        self.settings = settings
        self.database = database
        self.name = f"driver_{uuid4().hex[:12]}"
        self.email = f"{self.name}@example.com"
        self.user_id = uuid4()
        self.admin_id = uuid4()
        self.secrets: list[str] = [self.email, PASSWORD, NEW_PASSWORD, LAST_PASSWORD]

    async def call(
        self, method: str, path: str, json: Any = None, *, by: str | None = None, expect: int = 200, **options: Any
    ) -> tuple[Any, list[AuditEntry]]:
        """Make a request; return its answer and what the log says of it."""
        request_id, trace_id = f"s21-{uuid4().hex}", uuid4().hex
        headers = {
            "X-Request-Id": request_id,
            "X-Forwarded-For": ADDRESS,
            "traceparent": f"00-{trace_id}-{'1' * 16}-01",
            **({"Authorization": f"Bearer {by}"} if by else {}),
        }
        response = await self.http.request(method, path, json=json, headers=headers, **options)
        assert response.status_code == expect, (path, response.status_code, response.text)
        async with self.database.transaction() as session:
            query = select(AuditEntry).where(AuditEntry.request_id == request_id).order_by(AuditEntry.id)
            entries = list((await session.scalars(query)).all())
        assert {entry.address for entry in entries} <= {ADDRESS}
        assert {entry.trace_id for entry in entries} <= {trace_id}
        return (response.json() if response.content else None), entries

    async def log_in(self, password: str = PASSWORD, *, expect: int = 200) -> tuple[Any, list[AuditEntry]]:
        body = {"username": self.name, "password": password}
        return await self.call("POST", "/api/v1/auth/login", body, expect=expect)

    async def link(self, purpose: str) -> dict[str, str]:
        """Return the body with the token of the letter that was sent last; letters are made off the request."""
        query = select(OneTimeToken).where(OneTimeToken.user_id == self.user_id, OneTimeToken.purpose == purpose)

        async def newest() -> OneTimeToken | None:
            async with self.database.transaction() as session:
                return (await session.scalars(query.order_by(OneTimeToken.created_at.desc()).limit(1))).one_or_none()

        row = await eventually(newest, what="the letter")
        token = Links(self.settings).token(row)
        self.secrets.append(token)
        return {"token": token}

    async def told(self) -> list[str]:
        """Return what the log holds and must not: secrets, passwords and whole addresses."""
        async with self.database.transaction() as session:
            log = "\n".join((await session.scalars(text("SELECT audit::text FROM audit"))).all())
        return [secret for secret in self.secrets if secret in log]


@pytest.fixture
def actors(client: httpx.AsyncClient, app: Litestar, settings: AuthSettings, database: Database) -> Actors:
    return Actors(client, app, settings, database)


def only(
    entries: list[AuditEntry], *actions: str, actor: tuple[str, UUID | None], target: UUID | None
) -> list[AuditEntry]:
    """Hold what a request left against what it should have."""
    assert sorted(entry.action for entry in entries) == sorted(actions)
    assert {(entry.actor_kind, entry.actor_id) for entry in entries} == {actor}
    assert {entry.target_id for entry in entries} == {target}
    return entries


async def test_how_people_log_in_and_stay_in(actors: Actors) -> None:
    body = {"username": actors.name, "email": actors.email, "password": PASSWORD}
    made, entries = await actors.call("POST", "/api/v1/auth/register", body, expect=201)
    actors.user_id = UUID(made["id"])
    me, nobody = ("user", actors.user_id), ("anonymous", None)
    assert [entry.action for entry in entries] == ["register"]
    tokens, entries = await actors.log_in()
    only(entries, "login", actor=me, target=actors.user_id)
    _, entries = await actors.log_in("Wrong password 1", expect=401)
    (failure,) = only(entries, "login.failure", actor=nobody, target=actors.user_id)
    assert "Wrong password 1" not in str(failure.after)

    async def refresh(token: str, *, expect: int = 200) -> tuple[Any, list[AuditEntry]]:
        return await actors.call("POST", "/api/v1/auth/refresh", {"refresh_token": token}, expect=expect)

    second, entries = await refresh(tokens["refresh_token"])
    assert entries == []
    await refresh(second["refresh_token"])
    _, entries = await refresh(tokens["refresh_token"], expect=401)
    (reuse,) = only(entries, "session.end", actor=me, target=actors.user_id)
    assert (reuse.after or {})["reason"] == "refresh token reused"
    assert await actors.told() == []


async def test_what_people_do_with_their_accounts(actors: Actors) -> None:
    body = {"username": actors.name, "email": actors.email, "password": PASSWORD}
    made, _ = await actors.call("POST", "/api/v1/auth/register", body, expect=201)
    actors.user_id = UUID(made["id"])
    me = ("user", actors.user_id)
    _, entries = await actors.call("POST", "/api/v1/auth/verify", await actors.link("verify_email"), expect=204)
    only(entries, "email.verify", actor=me, target=actors.user_id)
    tokens, _ = await actors.log_in()
    by = tokens["access_token"]
    _, entries = await actors.call("PATCH", "/api/v1/users/me", {"full_name": "Somebody Else"}, by=by)
    only(entries, "profile.change", actor=me, target=actors.user_id)

    program = {"name": "my bot", "scopes": ["leagues:read"], "expires_in_days": 30}
    token, entries = await actors.call("POST", "/api/v1/users/me/tokens", program, by=by, expect=201)
    only(entries, "token.create", actor=me, target=actors.user_id)
    actors.secrets.append(token["token"])
    _, entries = await actors.call("DELETE", f"/api/v1/users/me/tokens/{token['id']}", by=by, expect=204)
    only(entries, "token.revoke", actor=me, target=actors.user_id)

    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(picture, "PNG")
    files = {"avatar": ("me.png", picture.getvalue(), "image/png")}
    _, entries = await actors.call("PUT", "/api/v1/users/me/avatar", by=by, files=files)
    only(entries, "avatar.change", actor=me, target=actors.user_id)

    wanted = {"email": f"new.{actors.email}", "current_password": PASSWORD}
    _, entries = await actors.call("POST", "/api/v1/users/me/email", wanted, by=by, expect=202)
    (asked,) = only(entries, "email.ask_change", actor=me, target=actors.user_id)
    assert wanted["email"] not in str((asked.before, asked.after))
    link = await actors.link("change_email")
    _, entries = await actors.call("POST", "/api/v1/auth/confirm-email", link, by=by, expect=204)
    assert {"email.change"} <= {entry.action for entry in entries} <= {"email.change", "session.end"}

    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    _, entries = await actors.call("PUT", "/api/v1/users/me/password", change, by=by, expect=204)
    assert "password.change" in {entry.action for entry in entries}
    await actors.call("POST", "/api/v1/auth/forgot-password", {"email": wanted["email"]})
    reset = {**await actors.link("reset_password"), "password": LAST_PASSWORD}
    _, entries = await actors.call("POST", "/api/v1/auth/reset-password", reset, expect=204)
    assert "password.reset" in {entry.action for entry in entries}

    for status in (401, 401, 401, 401, 401, 423):
        _, entries = await actors.log_in("Wrong password 1", expect=status)
        if status == 423:
            assert entries == [], "a refused try is not looked at"
            break
        locked = [entry.action for entry in entries]
    assert sorted(locked) == ["account.lock", "login.failure"]
    assert await actors.told() == []


async def test_how_an_account_ends(actors: Actors) -> None:
    body = {"username": actors.name, "email": actors.email, "password": PASSWORD}
    made, _ = await actors.call("POST", "/api/v1/auth/register", body, expect=201)
    target = actors.user_id = UUID(made["id"])
    tokens, _ = await actors.log_in()
    leave = {"current_password": PASSWORD}
    _, entries = await actors.call("DELETE", "/api/v1/users/me", leave, by=tokens["access_token"], expect=204)
    only(entries, "account.delete", "session.end", actor=("user", target), target=target)
    async with actors.database.transaction() as session:
        gone = clock.now() - timedelta(days=31)
        await session.execute(update(User).where(User.id == target).values(deleted_at=gone))
    await eventually(actors.app.state.purge.run, what="the purge, unless another process is at it")
    async with actors.database.transaction() as session:
        query = select(AuditEntry).where(AuditEntry.target_id == target).order_by(AuditEntry.id.desc()).limit(1)
        last = (await session.scalars(query)).one()
    assert (last.action, last.actor_kind, last.actor_id) == ("account.erase", "system", None)
    assert await actors.told() == []
    assert (await audit.verify(actors.database)).fault is None


async def test_what_operators_do_with_keys(fresh_settings: AuthSettings) -> None:
    database = Database(fresh_settings, "auth")
    key = await rotation.rotate(database, fresh_settings, now=True)
    await rotation.withdraw(database, fresh_settings, key)
    async with database.transaction() as session:
        rows = (await session.scalars(select(AuditEntry).order_by(AuditEntry.id))).all()
    await database.close()
    assert [row.action for row in rows] == ["key.publish", "key.withdraw", "key.publish"]
    assert {row.actor_kind for row in rows} == {"operator"}


async def test_what_admins_do(actors: Actors, database: Database) -> None:
    body = {"username": actors.name, "email": actors.email, "password": PASSWORD}
    made, _ = await actors.call("POST", "/api/v1/auth/register", body, expect=201)
    target = actors.user_id = UUID(made["id"])
    name = f"boss_{uuid4().hex[:12]}"
    boss = NewAdmin(username=name, email=f"{name}@example.com", scopes=frozenset(ADMIN_SCOPES))
    await admins.appoint(database, actors.app.state.hasher, boss, PASSWORD, another=True)
    async with database.transaction() as session:
        admin_id = await session.scalar(select(Admin.id).where(Admin.username == name))
        (entry,) = (await session.scalars(select(AuditEntry).where(AuditEntry.target_id == admin_id))).all()
    assert (entry.action, entry.actor_kind) == ("admin.create", "operator")
    me = ("admin", admin_id)
    login = {"username": name, "password": PASSWORD}
    tokens, entries = await actors.call("POST", "/api/v1/admin/auth/login", login)
    only(entries, "login", actor=me, target=admin_id)
    by = tokens["access_token"]
    await actors.log_in()
    one = f"/api/v1/admin/users/{target}"
    ends = ("session.end",)
    for method, path, json, actions in (
        ("PATCH", one, {"full_name": "Corrected Name"}, ("user.change",)),
        ("POST", f"{one}/logout", None, ("user.logout", *ends)),
        ("POST", f"{one}/unlock", None, ("user.unlock",)),
        ("POST", f"{one}/deactivate", None, ("user.deactivate",)),
        ("POST", f"{one}/activate", None, ("user.activate",)),
        ("POST", f"{one}/force-reset", None, ("user.force_reset",)),
        ("DELETE", one, None, ("user.delete",)),
        ("POST", f"{one}/restore", None, ("user.restore",)),
    ):
        _, entries = await actors.call(method, path, json, by=by, expect=204 if method == "DELETE" else 200)
        found = only(entries, *actions, actor=me, target=target)
        act = next(entry for entry in found if entry.action == actions[0])
        assert act.before is not None
        assert act.after is not None
    bulk = {"action": "deactivate", "user_ids": [str(target)]}
    _, entries = await actors.call("POST", "/api/v1/admin/users/bulk", bulk, by=by)
    only(entries, "user.deactivate", actor=me, target=target)

    new = {"username": f"x{name}"[:50], "email": f"x{name}@example.com", "password": PASSWORD, "scopes": ["users:read"]}
    other, entries = await actors.call("POST", "/api/v1/admin/admins", new, by=by, expect=201)
    whom = UUID(other["id"])
    only(entries, "admin.create", actor=me, target=whom)
    _, entries = await actors.call("PATCH", f"/api/v1/admin/admins/{whom}", {"scopes": []}, by=by)
    (role,) = only(entries, "admin.scopes", actor=me, target=whom)
    assert ((role.before or {})["scopes"], (role.after or {})["scopes"]) == (["users:read"], [])
    for name in ("deactivate", "activate"):
        _, entries = await actors.call("POST", f"/api/v1/admin/admins/{whom}/{name}", by=by)
        only(entries, f"admin.{name}", actor=me, target=whom)
    password = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    _, entries = await actors.call("POST", "/api/v1/admin/auth/password", password, by=by, expect=204)
    assert "password.change" in {entry.action for entry in entries}
    _, entries = await actors.call("POST", "/api/v1/admin/auth/logout", by=by, expect=204)
    only(entries, "session.end", actor=me, target=admin_id)
    assert await actors.told() == []
