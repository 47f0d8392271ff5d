"""What somebody likes: defaults, changes, refusals, and the ids of those they are a fan of."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from litestar import Litestar

from auth.app import create_app
from auth.favourites import Favourites
from auth.settings import AuthSettings
from devstack.testing import running

PATH = "/users/me/preferences"
NEWS = ("race_completed", "draft_turn", "league_invitations", "team_updates")


class Season:
    """An `ingest` that answers what it is told to, page by page."""

    def __init__(self) -> None:
        self.drivers = [f"driver{number}" for number in range(1, 131)]
        self.constructors = ["ferrari", "mclaren"]
        self.asked = 0
        self.status = 200
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def page(self, path: str) -> Any:
        parts = urlsplit(path)
        query = {name: int(value[0]) for name, value in parse_qs(parts.query).items()}
        driving = parts.path == "/api/v1/drivers"
        ids = self.drivers if driving else self.constructors
        shown = ids[query["skip"] : query["skip"] + query["limit"]]
        items = [{"driver_id": one, "constructor_id": None} if driving else {"constructor_id": one} for one in shown]
        return {"total": len(ids), "items": items, "season": 2026}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        season = self

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                season.asked += 1
                body = msgspec.json.encode(season.page(self.path))
                self.send_response(season.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's names
                pass

        return Pages


@pytest.fixture
def season() -> Iterator[Season]:
    season = Season()
    yield season
    season.close()


@pytest.fixture
async def fans(app: Litestar, season: Season) -> AsyncIterator[Season]:
    """The service asks this season."""
    before, app.state.favourites = app.state.favourites, Favourites(season.url)
    yield season
    app.state.favourites = before


async def test_who_has_chosen_nothing_has_the_defaults(newcomer: Any, published: Any) -> None:
    someone = await newcomer()
    response = await someone.get(PATH)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    told = {"in_app": True, "email": True, "push": False, "webhook": False}
    assert body == {
        **{f"notify_{kind}": True for kind in NEWS},
        "notifications": dict.fromkeys(NEWS, told),
        "quiet_hours": None,
        "theme": "system",
        "language": "en",
        "timezone": "UTC",
        "profile_visibility": "public",
        "show_email_to_league_members": False,
        "auto_pick_enabled": True,
        "auto_pick_strategy": "highest_ranked",
        "favorite_team": None,
        "favorite_driver": None,
    }
    assert (await someone.put(PATH)).json() == body
    assert await published("user.preferences.changed", someone.id) == []


@pytest.mark.usefixtures("fans")
async def test_everything_can_be_chosen_and_is_told_once(newcomer: Any, published: Any) -> None:
    someone = await newcomer()
    wanted = {
        "notify_draft_turn": False,
        "notifications": {"race_completed": {"push": True, "email": False}, "draft_turn": {"webhook": True}},
        "quiet_hours": {"from": "22:30", "until": "07:00"},
        "theme": "dark",
        "language": "PT-br",
        "timezone": "Europe/Brussels",
        "profile_visibility": "league_only",
        "show_email_to_league_members": True,
        "auto_pick_enabled": False,
        "auto_pick_strategy": "balanced",
        "favorite_team": "mclaren",
        "favorite_driver": "driver130",
    }
    body = (await someone.put(PATH, **wanted)).json()
    told = {"in_app": True, "email": True, "push": False, "webhook": False}
    matrix = dict.fromkeys(NEWS, told)
    matrix["race_completed"] = {"in_app": True, "email": False, "push": True, "webhook": False}
    matrix["draft_turn"] = told | {"webhook": True}
    same = {name: value for name, value in wanted.items() if name not in {"notifications", "language"}}
    assert body == body | same | {"notifications": matrix, "language": "pt-BR", "notify_team_updates": True}
    assert (await someone.get(PATH)).json() == body
    assert (await someone.put(PATH, **wanted)).json() == body
    [event] = await published("user.preferences.changed", someone.id)
    assert {news.kind: news.channels for news in event.notifications} == {
        "race_completed": ["in_app", "push"],
        "draft_turn": [],
        "league_invitations": ["in_app", "email"],
        "team_updates": ["in_app", "email"],
    }
    assert (event.quiet_from, event.quiet_until, event.language) == ("22:30", "07:00", "pt-BR")
    assert (event.profile_visibility, event.auto_pick_strategy) == ("league_only", "balanced")
    cleared = (await someone.put(PATH, quiet_hours=None, favorite_team=None)).json()
    assert (cleared["quiet_hours"], cleared["favorite_team"], cleared["theme"]) == (None, None, "dark")


@pytest.mark.parametrize(
    "fields",
    [
        {"theme": "pink"},
        {"language": "english"},
        {"language": "e"},
        {"language": "en-US-x-twain"},
        {"language": "en\n"},
        {"timezone": "Mars/Olympus"},
        {"timezone": "localtime"},
        {"timezone": "../../etc/passwd"},
        {"timezone": None},
        {"profile_visibility": "friends"},
        {"auto_pick_strategy": "best"},
        {"notify_race_completed": "yes"},
        {"notify_everything": True},
        {"notifications": {"race_completed": {"fax": True}}},
        {"notifications": {"weather": {"email": True}}},
        {"notifications": {"race_completed": True}},
        {"quiet_hours": {"from": "22:30"}},
        {"quiet_hours": {"from": "24:00", "until": "07:00"}},
        {"quiet_hours": {"from": "22:30\n", "until": "07:00"}},
        {"quiet_hours": {"from": "07:00", "until": "07:00"}},
        {"quiet_hours": {"from": "22:00", "until": "07:00", "zone": "UTC"}},
        {"favorite_team": ""},
        {"favorite_team": "x" * 65},
        {"is_admin": True},
        {"user_id": "0195c0de-0000-7000-8000-000000000001"},
    ],
)
async def test_what_means_nothing_is_refused_and_changes_nothing(newcomer: Any, fields: dict[str, Any]) -> None:
    someone = await newcomer()
    response = await someone.put(PATH, auto_pick_enabled=False, **fields)
    assert response.status_code == 422, response.text
    assert (await someone.get(PATH)).json()["auto_pick_enabled"] is True


@pytest.mark.usefixtures("fans")
async def test_the_short_way_takes_favourites_and_theme_alone(newcomer: Any) -> None:
    someone = await newcomer()
    body = (
        await someone.put("/auth/preferences", favorite_team="ferrari", favorite_driver="driver1", theme="light")
    ).json()
    assert (body["favorite_team"], body["favorite_driver"], body["theme"]) == ("ferrari", "driver1", "light")
    refused = await someone.put("/auth/preferences", profile_visibility="private")
    assert refused.status_code == 422
    assert (await someone.get(PATH)).json() == body


async def test_a_favourite_must_race_and_the_list_is_asked_for_rarely(newcomer: Any, fans: Season) -> None:
    someone = await newcomer()
    for field, kind in (("favorite_team", "constructor"), ("favorite_driver", "driver")):
        response = await someone.put(PATH, theme="dark", **{field: "tyrrell"})
        assert (response.status_code, response.json()["code"]) == (422, "unknown_favorite")
        assert response.json()["errors"][0]["field"] == field
        assert kind in response.json()["detail"]
    assert (await someone.get(PATH)).json()["theme"] == "system"
    await asyncio.gather(*(someone.put(PATH, favorite_driver=f"driver{number}") for number in range(1, 21)))
    assert fans.asked == 3, "one page of constructors and two of drivers"


async def test_who_races_no_more_stays_a_favourite_of_who_has_chosen_them(
    newcomer: Any, fans: Season, app: Litestar
) -> None:
    someone, other = await newcomer(), await newcomer()
    await someone.put(PATH, favorite_driver="driver7")
    fans.drivers.remove("driver7")
    app.state.favourites = Favourites(fans.url)
    kept = await someone.put(PATH, favorite_driver="driver7", theme="dark")
    assert (kept.status_code, kept.json()["favorite_driver"], kept.json()["theme"]) == (200, "driver7", "dark")
    assert (await other.put(PATH, favorite_driver="driver7")).status_code == 422


@pytest.mark.parametrize("trouble", ["away", "failing", "empty"])
async def test_a_new_favourite_waits_until_it_can_be_known(
    newcomer: Any, fans: Season, app: Litestar, trouble: str
) -> None:
    someone = await newcomer()
    if trouble == "away":
        fans.close()
    elif trouble == "failing":
        fans.status = 503
    else:
        fans.constructors = []
    app.state.favourites = Favourites(fans.url)
    refused = await someone.put(PATH, favorite_team="ferrari")
    assert (refused.status_code, refused.json()["code"]) == (503, "favorites_unknown")
    assert int(refused.headers["retry-after"]) > 0
    assert (await someone.put(PATH, theme="dark")).status_code == 200, "the rest can be chosen"


async def test_a_list_that_was_read_is_good_while_ingest_is_away(newcomer: Any, fans: Season) -> None:
    someone = await newcomer()
    await someone.put(PATH, favorite_team="ferrari")
    fans.close()
    assert (await someone.put(PATH, favorite_team="mclaren")).status_code == 200


async def test_changes_at_the_same_time_do_not_undo_each_other(newcomer: Any, published: Any) -> None:
    someone = await newcomer()
    await someone.put(PATH, theme="light")
    changes: list[dict[str, Any]] = [{f"notify_{kind}": False} for kind in NEWS]
    changes += [{"theme": "dark"}, {"language": "de"}, {"timezone": "Asia/Tokyo"}]
    answers = await asyncio.gather(*(someone.put(PATH, **change) for change in changes))
    assert {answer.status_code for answer in answers} == {200}
    body = (await someone.get(PATH)).json()
    assert all(body | change == body for change in changes)
    moments = [event.changed_at for event in await published("user.preferences.changed", someone.id)]
    assert moments == sorted(set(moments))
    assert len(moments) == 1 + len(changes)


async def test_nobody_reads_or_changes_the_preferences_of_others(newcomer: Any) -> None:
    one, other = await newcomer(), await newcomer()
    await one.put(PATH, theme="dark", timezone="Asia/Tokyo")
    assert (await other.get(PATH)).json()["timezone"] == "UTC"
    await other.put(PATH, theme="light")
    assert (await one.get(PATH)).json()["theme"] == "dark"


async def test_preferences_take_a_token(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", PATH), ("PUT", PATH), ("PUT", "/auth/preferences")):
        assert (await client.request(method, f"/api/v1{path}", json={})).status_code == 401


async def test_without_ingest_the_service_starts_all_the_same(settings: AuthSettings) -> None:
    changed = msgspec.structs.replace(settings, ingest_url="http://127.0.0.1:1", nats_url="nats://127.0.0.1:1")
    async with running(create_app(changed)) as http:
        assert (await http.get("/health/live")).status_code == 200
