"""One good request of each operation: what its owner sends about objects of their own.

An operation that is not named here is asked for without a body, its parameters filled from `SAMPLE`.
"""

from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any
from uuid import uuid4

import msgspec
from PIL import Image

from attack.cast import CONSTRUCTORS, DRIVERS, SEASON, Cast
from attack.people import PASSWORD, People, Person
from attack.world import World
from common.tokens import new_token
from devstack.testing import eventually

SAMPLE = {
    "race_id": f"{SEASON}-circuit1",
    "season": str(SEASON),
    "round": "1",
    "kind": "driver",
    "asset_id": DRIVERS[0],
    "name": "user.registered",
    "file": "v1.json",
    "asset": "start.js",
    "path": "nothing",
}
OTHER_PASSWORD = "Chicane-77-behind"
LINK = "pdl_" + "a" * 64


class Ask(msgspec.Struct, kw_only=True):
    """A request, without who asks."""

    path: str
    json: Any = msgspec.UNSET
    content: bytes | None = None
    content_type: str | None = None
    query: dict[str, str] = {}
    """Of the URL."""
    owner: Person | None = None
    """Whoever owns what it is about, where that is not the owner of the rest."""


class Scene(msgspec.Struct, frozen=True):
    """What a request may be made of."""

    world: World
    people: People
    cast: Cast
    role: str = "owner"
    """Who is going to ask."""

    @property
    def caller(self) -> Person:
        """Whose name and password stand in a request of whoever has no token."""
        return getattr(self.cast, self.role) if hasattr(self.cast, self.role) else self.cast.owner

    async def made(self, service: str, path: str, body: Any, status: int = 201, person: Person | None = None) -> Any:
        """Let the owner make something, directly at the service."""
        headers = (person or self.cast.owner).headers
        response = await self.world.http.post(self.world.urls[service] + path, json=body, headers=headers)
        if response.status_code != status:
            raise AssertionError(f"{path}: {response.status_code} {response.text}")
        return response.json() if response.content else None


Maker = Callable[[Scene], Awaitable[Ask]]
Operation = tuple[str, str, str]
ASKS: dict[Operation, Maker] = {}
OWNED: set[Operation] = set()
"""Operations on one object of the owner, which nobody else may see or touch."""
EACH: set[Operation] = set()
"""Operations that each role asks for with a request of their own; otherwise it is the same one for all."""
DISPOSABLE: set[Operation] = set()
"""Operations after which whoever asked is not who they were: each role sends somebody new."""


def ask(
    service: str, method: str, path: str, *, owned: bool = False, each: bool = False, disposable: bool = False
) -> Callable[[Maker], Maker]:
    """Register how to ask for an operation."""
    operation = (service, method, path)

    def register(maker: Maker) -> Maker:
        ASKS[operation] = maker
        for kind, given in ((OWNED, owned), (EACH, each), (DISPOSABLE, disposable)):
            if given:
                kind.add(operation)
        return maker

    return register


def plain(service: str, method: str, path: str, *, disposable: bool = False, **parts: Any) -> None:
    """Register an operation whose request is always the same."""

    async def maker(_: Scene) -> Ask:
        return Ask(path=path, **parts)

    ask(service, method, path, disposable=disposable)(maker)


def name(kind: str) -> str:
    """Return a name that nobody has."""
    return f"{kind} {uuid4().hex[:12]}"


# --- leagues


@ask("leagues", "POST", "/api/v1/leagues", each=True)
async def _(_: Scene) -> Ask:
    return Ask(path="/api/v1/leagues", json={"name": name("League")})


@ask("leagues", "POST", "/api/v1/teams", disposable=True)
async def _(_: Scene) -> Ask:
    return Ask(path="/api/v1/teams", json={"name": name("Team")})


@ask("leagues", "GET", "/api/v1/leagues/{league_id}", owned=True)
async def _(scene: Scene) -> Ask:
    league = await scene.made("leagues", "/api/v1/leagues", {"name": name("Secret"), "private": True})
    return Ask(path=f"/api/v1/leagues/{league['league_id']}")


@ask("leagues", "POST", "/api/v1/leagues/{league_id}/join")
async def _(scene: Scene) -> Ask:
    stranger = await scene.people.user()
    league = await scene.made("leagues", "/api/v1/leagues", {"name": name("Open"), "max_members": 50}, person=stranger)
    return Ask(path=f"/api/v1/leagues/{league['league_id']}/join", json={})


@ask("leagues", "POST", "/api/v1/leagues/join")
async def _(scene: Scene) -> Ask:
    stranger = await scene.people.user()
    body = {"name": name("Closed"), "private": True}
    league = await scene.made("leagues", "/api/v1/leagues", body, person=stranger)
    return Ask(path="/api/v1/leagues/join", json={"code": league["code"]})


async def _team(scene: Scene) -> tuple[Person, str]:
    """Let somebody make a team; the owner has not room for so many."""
    owner = await scene.people.user()
    team = await scene.made("leagues", "/api/v1/teams", {"name": name("Team")}, person=owner)
    return owner, f"/api/v1/teams/{team['team_id']}"


@ask("leagues", "GET", "/api/v1/teams/{team_id}")
async def _(scene: Scene) -> Ask:
    owner, path = await _team(scene)
    return Ask(path=path, owner=owner)


LINEUP = {"drivers": DRIVERS, "constructors": CONSTRUCTORS}


@ask("leagues", "GET", "/api/v1/teams/{team_id}/lineup", owned=True)
async def _(scene: Scene) -> Ask:
    owner, path = await _team(scene)
    url = f"{scene.world.urls['leagues']}{path}/lineup"
    if (await scene.world.http.put(url, json=LINEUP, headers=owner.headers)).status_code != 200:
        raise AssertionError("no line-up")
    return Ask(path=f"{path}/lineup", owner=owner)


@ask("leagues", "PUT", "/api/v1/teams/{team_id}/lineup", owned=True)
async def _(scene: Scene) -> Ask:
    owner, path = await _team(scene)
    return Ask(path=f"{path}/lineup", json=LINEUP, owner=owner)


# --- scoring


async def _heard(scene: Scene, path: str, person: Person) -> None:
    """Wait until scoring has heard of something."""
    url = scene.world.urls["scoring"] + path

    async def answers() -> bool:
        return (await scene.world.http.get(url, headers=person.headers)).status_code == 200

    await eventually(answers, seconds=60, what=f"scoring's knowledge of {path}")


@ask("scoring", "GET", "/api/v1/leagues/{league_id}/leaderboard", owned=True)
async def _(scene: Scene) -> Ask:
    league = await scene.made("leagues", "/api/v1/leagues", {"name": name("Board"), "private": True})
    path = f"/api/v1/leagues/{league['league_id']}/leaderboard"
    await _heard(scene, path, scene.cast.owner)
    return Ask(path=path)


@ask("scoring", "GET", "/api/v1/teams/{team_id}/points")
async def _(scene: Scene) -> Ask:
    owner, path = await _team(scene)
    await _heard(scene, f"{path}/points", owner)
    return Ask(path=f"{path}/points", owner=owner)


# --- webhooks

ENDPOINT = {"url": "http://127.0.0.1:9/hook", "subjects": ["race.finished"]}
ENDPOINTS = "/api/v1/webhooks"


async def _endpoint(scene: Scene) -> str:
    """Make an endpoint, in the place of those before it: a person may have ten."""
    headers = scene.cast.owner.headers
    url = scene.world.urls["webhooks"] + ENDPOINTS
    for one in (await scene.world.http.get(url, headers=headers)).json()["items"][5:]:
        await scene.world.http.delete(f"{url}/{one['endpoint_id']}", headers=headers)
    made = await scene.made("webhooks", ENDPOINTS, ENDPOINT | {"description": name("Secret")})
    return f"{ENDPOINTS}/{made['endpoint_id']}"


@ask("webhooks", "POST", ENDPOINTS)
async def _(scene: Scene) -> Ask:
    await _endpoint(scene)
    return Ask(path=ENDPOINTS, json=ENDPOINT)


def _on_endpoint(method: str, act: str, body: Any = msgspec.UNSET) -> None:
    @ask("webhooks", method, f"{ENDPOINTS}/{{endpoint_id}}{act}", owned=True)
    async def _(scene: Scene) -> Ask:
        return Ask(path=await _endpoint(scene) + act, json=body)


_on_endpoint("GET", "")
_on_endpoint("PATCH", "", {"description": "changed"})
_on_endpoint("DELETE", "")
_on_endpoint("GET", "/deliveries")
for _act in ("/secret", "/enable", "/disable", "/test"):
    _on_endpoint("POST", _act)


async def _delivery(scene: Scene) -> str:
    """Make a delivery that has failed: nobody listens."""
    endpoint = await _endpoint(scene)
    await scene.made("webhooks", f"{endpoint}/test", None, 202)
    url = f"{scene.world.urls['webhooks']}{endpoint}/deliveries"

    async def tried() -> str:
        (one,) = (await scene.world.http.get(url, headers=scene.cast.owner.headers)).json()["items"]
        return str(one["delivery_id"])

    return f"{endpoint}/deliveries/{await eventually(tried, what='a delivery')}"


@ask("webhooks", "GET", f"{ENDPOINTS}/{{endpoint_id}}/deliveries/{{delivery_id}}", owned=True)
async def _(scene: Scene) -> Ask:
    return Ask(path=await _delivery(scene))


@ask("webhooks", "POST", f"{ENDPOINTS}/{{endpoint_id}}/deliveries/{{delivery_id}}/redeliver", owned=True)
async def _(scene: Scene) -> Ask:
    path = await _delivery(scene)
    delivery = path.rpartition("/")[2]
    await scene.world.rows(
        "webhooks",
        "UPDATE deliveries SET status = 'failed', due_at = NULL, lease = NULL WHERE delivery_id = :id",
        id=delivery,
    )
    return Ask(path=f"{path}/redeliver")


# --- auth: whoever has no session


@ask("auth", "POST", "/api/v1/auth/register", each=True)
async def _(_: Scene) -> Ask:
    own = f"player_{uuid4().hex[:12]}"
    body = {"username": own, "email": f"{own}@example.org", "password": PASSWORD}
    return Ask(path="/api/v1/auth/register", json=body)


@ask("auth", "POST", "/api/v1/auth/login", each=True)
async def _(scene: Scene) -> Ask:
    return Ask(path="/api/v1/auth/login", json={"username": scene.caller.username, "password": PASSWORD})


@ask("auth", "POST", "/api/v1/auth/refresh", each=True)
async def _(scene: Scene) -> Ask:
    person = scene.caller if scene.role in {"deactivated", "admin"} else await scene.people.user()
    return Ask(path="/api/v1/auth/refresh", json={"refresh_token": person.refresh})


for _path in ("verify", "confirm-email"):
    plain("auth", "POST", f"/api/v1/auth/{_path}", json={"token": LINK})
plain("auth", "POST", "/api/v1/auth/reset-password", json={"token": LINK, "password": OTHER_PASSWORD})
for _path in ("forgot-password", "request-verify-token"):
    plain("auth", "POST", f"/api/v1/auth/{_path}", json={"email": "nobody@example.org"})
plain("auth", "GET", "/api/v1/auth/check-email", query={"email": "nobody@example.org"})
plain("auth", "GET", "/api/v1/auth/check-username", query={"username": "nobody_at_all"})


@ask("auth", "POST", "/internal/tokens/exchange")
async def _(_: Scene) -> Ask:
    return Ask(path="/internal/tokens/exchange", json={"token": new_token()})


# --- auth: oneself

plain("auth", "POST", "/api/v1/auth/logout", disposable=True)
plain("auth", "POST", "/api/v1/auth/logout-all", disposable=True)
plain("auth", "DELETE", "/api/v1/users/me", disposable=True, json={"current_password": PASSWORD})
plain(
    "auth",
    "PUT",
    "/api/v1/users/me/password",
    disposable=True,
    json={"current_password": PASSWORD, "new_password": OTHER_PASSWORD},
)
for _method in ("PUT", "PATCH"):
    plain("auth", _method, "/api/v1/users/me", json={"full_name": "Somebody Else"})
plain("auth", "PUT", "/api/v1/users/me/preferences", json={"theme": "dark", "quiet_hours": None})
plain("auth", "PUT", "/api/v1/auth/preferences", json={"theme": "dark"})
plain("auth", "GET", "/api/v1/users/search", query={"q": "player"})


@ask("auth", "POST", "/api/v1/users/me/email", each=True)
async def _(_: Scene) -> Ask:
    body = {"email": f"{uuid4().hex[:12]}@example.org", "current_password": PASSWORD}
    return Ask(path="/api/v1/users/me/email", json=body)


def _picture() -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "PNG")
    return out.getvalue()


plain("auth", "PUT", "/api/v1/users/me/avatar", content=_picture(), content_type="image/png")


@ask("auth", "GET", "/api/v1/users/{user_id}/avatar")
async def _(scene: Scene) -> Ask:
    headers = scene.cast.owner.headers | {"Content-Type": "image/png"}
    url = scene.world.urls["auth"] + "/api/v1/users/me/avatar"
    if (await scene.world.http.put(url, content=_picture(), headers=headers)).status_code != 200:
        raise AssertionError("no avatar")
    return Ask(path=f"/api/v1/users/{scene.cast.owner.id}/avatar")


@ask("auth", "GET", "/api/v1/users/{username}/profile")
async def _(scene: Scene) -> Ask:
    return Ask(path=f"/api/v1/users/{scene.cast.owner.username}/profile")


@ask("auth", "DELETE", "/api/v1/auth/sessions/{session_id}", owned=True)
async def _(scene: Scene) -> Ask:
    owner = scene.cast.owner
    again = await scene.people.log_in(owner.username, email=owner.email, user_id=owner.id)
    return Ask(path=f"/api/v1/auth/sessions/{again.session_id}")


def _token_request() -> dict[str, Any]:
    return {"name": name("Overlay"), "scopes": ["leagues:read"], "expires_in_days": 30}


@ask("auth", "POST", "/api/v1/users/me/tokens", each=True)
async def _(_: Scene) -> Ask:
    return Ask(path="/api/v1/users/me/tokens", json=_token_request())


@ask("auth", "DELETE", "/api/v1/users/me/tokens/{token_id}", owned=True)
async def _(scene: Scene) -> Ask:
    made = await scene.made("auth", "/api/v1/users/me/tokens", _token_request())
    return Ask(path=f"/api/v1/users/me/tokens/{made['id']}")


# --- auth: admins

plain("auth", "POST", "/api/v1/admin/auth/logout", disposable=True)
plain(
    "auth",
    "POST",
    "/api/v1/admin/auth/password",
    disposable=True,
    json={"current_password": PASSWORD, "new_password": OTHER_PASSWORD},
)


@ask("auth", "POST", "/api/v1/admin/auth/login", each=True)
async def _(scene: Scene) -> Ask:
    return Ask(path="/api/v1/admin/auth/login", json={"username": scene.caller.username, "password": PASSWORD})


@ask("auth", "POST", "/api/v1/admin/auth/refresh", each=True)
async def _(scene: Scene) -> Ask:
    person = await scene.people.new_admin() if scene.role == "admin" else scene.caller
    return Ask(path="/api/v1/admin/auth/refresh", json={"refresh_token": person.refresh})


@ask("auth", "POST", "/api/v1/admin/admins")
async def _(_: Scene) -> Ask:
    own = f"marshal_{uuid4().hex[:12]}"
    body = {"username": own, "email": f"{own}@example.org", "password": PASSWORD, "scopes": ["users:read"]}
    return Ask(path="/api/v1/admin/admins", json=body)


def _on_admin(method: str, act: str, body: Any = msgspec.UNSET) -> None:
    @ask("auth", method, f"/api/v1/admin/admins/{{admin_id}}{act}")
    async def _(scene: Scene) -> Ask:
        return Ask(path=f"/api/v1/admin/admins/{(await scene.people.new_admin()).id}{act}", json=body)


_on_admin("PATCH", "", {"scopes": ["users:read"]})
_on_admin("POST", "/activate")
_on_admin("POST", "/deactivate")


def _on_user(method: str, act: str, body: Any = msgspec.UNSET) -> None:
    @ask("auth", method, f"/api/v1/admin/users/{{user_id}}{act}")
    async def _(scene: Scene) -> Ask:
        return Ask(path=f"/api/v1/admin/users/{(await scene.people.user()).id}{act}", json=body)


_on_user("GET", "")
_on_user("DELETE", "")
_on_user("PUT", "", {"full_name": "Somebody Else"})
_on_user("PATCH", "", {"full_name": "Somebody Else"})
for _act in ("activate", "deactivate", "block"):
    _on_user("POST", f"/{_act}")
    _on_user("PATCH", f"/{_act}")
for _act in ("unlock", "logout", "force-reset"):
    _on_user("POST", f"/{_act}")


@ask("auth", "POST", "/api/v1/admin/users/{user_id}/restore")
async def _(scene: Scene) -> Ask:
    user = await scene.people.user()
    url = f"{scene.world.urls['auth']}/api/v1/admin/users/{user.id}"
    if (await scene.world.http.delete(url, headers=scene.cast.admin.headers)).status_code != 204:
        raise AssertionError("not deleted")
    return Ask(path=f"/api/v1/admin/users/{user.id}/restore")


@ask("auth", "POST", "/api/v1/admin/users/bulk")
async def _(scene: Scene) -> Ask:
    body = {"action": "logout", "user_ids": [str((await scene.people.user()).id)]}
    return Ask(path="/api/v1/admin/users/bulk", json=body)
