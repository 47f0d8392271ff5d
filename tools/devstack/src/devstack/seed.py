"""The demo season's people: one account to try, one public league, many teams that play in it.

Everything goes through the public API of the services themselves, not of the gateway, whose limits are for clients.
Whatever is there already is left as it is, so a seeding that was cut short goes on where it was.
"""

import itertools
import math
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from devstack.errors import DevstackError

USER, PASSWORD = "demo", "Lights-Out-24"
LEAGUE = "Paddock Open"
MARKET_SECONDS = 15.0
POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 30.0
WORKERS = 4
TEAMS_EACH = 3
"""As many as a player may enter in a season."""
TRIES, THROWS = 500, 3
"""Throws of the dice for a line-up, and how many within the cap are enough to choose from."""
PICKED = (5, 2)
"""Drivers and constructors of a line-up."""
CHOICE = 2
"""How many times as many there must be to pick from."""
FIRST = (
    "Apex",
    "Chicane",
    "Slipstream",
    "Hairpin",
    "Undercut",
    "Overcut",
    "Pit Wall",
    "Paddock",
    "Red Flag",
    "Soft Tyre",
)
SECOND = ("Hunters", "Racing", "Pilots", "Club", "Garage", "Crew", "Strategists", "Union", "Grand Prix", "Collective")

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What a visitor can use at once."""

    league_id: UUID
    members: int
    market: Json

    @property
    def credentials(self) -> str:
        """What to log in with."""
        return f"{USER} / {PASSWORD}"


class Seeder:
    """Plays many people at the services of one stack."""

    def __init__(self, urls: Mapping[str, str], secret: str, ending: threading.Event) -> None:
        self._urls = urls
        self._secret = secret
        self._ending = ending
        limits = httpx.Limits(max_connections=WORKERS, max_keepalive_connections=WORKERS)
        self._http = httpx.Client(timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False)

    def open(self) -> Demo | None:
        """Enter the demo user with a team and the league; None when no season is known yet."""
        market = self._market()
        if market is None:
            return None
        demo = self._enter(USER, PASSWORD)
        team_id = self._teams(demo, [f"{USER.title()} Racing"], market)[0]
        league = self._league(demo, team_id)
        return Demo(league_id=UUID(league["league_id"]), members=int(league["members"]), market=market)

    def fill(self, demo: Demo, teams: int) -> int:
        """Enter players until ``teams`` teams play, the demo user's included; answer how many players are new.

        A player has up to three teams, the first of which plays in the league.
        """
        players = math.ceil((teams - 1) / TEAMS_EACH)
        if demo.members > players:
            return 0
        entered = list(itertools.islice(names(), teams - 1))
        with ThreadPoolExecutor(WORKERS) as pool:
            rivals = [
                pool.submit(self._rival, number, entered[begin : begin + TEAMS_EACH], demo)
                for number, begin in enumerate(range(0, teams - 1, TEAMS_EACH), start=1)
            ]
            for rival in rivals:
                rival.result()
        return 0 if self._ending.is_set() else players

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(self, service: str, method: str, path: str, token: str | None = None, **options: Any) -> httpx.Response:  # noqa: ANN401
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self._urls[service]}/api/v1{path}"
        try:
            return self._http.request(method, url, headers=headers, **options)
        except httpx.HTTPError as error:
            raise DevstackError(f"{service} does not answer the seeding of demo data: {error!r}") from error

    def _expect(self, response: httpx.Response) -> Json:
        if response.is_error:
            path = response.request.url.path
            raise DevstackError(f"demo data is refused: {path} answers {response.status_code} {response.text[:200]}")
        answer: Json = response.json()
        return answer

    def _market(self) -> Json | None:
        """What can be picked, once there is a choice of things with a price."""
        deadline = time.monotonic() + MARKET_SECONDS
        while time.monotonic() < deadline and not self._ending.is_set():
            response = self._call("leagues", "GET", "/market")
            if response.is_success:
                market: Json = response.json()
                choice = [len(pickable(market, kind)) for kind in ("drivers", "constructors")]
                if all(have >= CHOICE * need for have, need in zip(choice, PICKED, strict=True)):
                    return market
            self._ending.wait(POLL_SECONDS)
        return None

    def _enter(self, name: str, password: str) -> str:
        """Register, unless that has been done, log in, return the access token."""
        credentials = {"username": name, "password": password}
        account = credentials | {"email": f"{name}@paddock.example", "full_name": name.replace("_", " ").title()}
        registered = self._call("auth", "POST", "/auth/register", json=account)
        if registered.status_code != httpx.codes.CONFLICT:
            self._expect(registered)
        return str(self._expect(self._call("auth", "POST", "/auth/login", json=credentials))["access_token"])

    def _teams(self, token: str, names: Sequence[str], market: Json) -> list[str]:
        """The caller's teams of these names with a line-up each, made where needed."""
        mine = self._expect(self._call("leagues", "GET", "/teams", token, params={"season": market["season"]}))
        have = {team["name"]: team for team in mine["items"]}
        for name in names:
            team = have.get(name) or self._expect(self._call("leagues", "POST", "/teams", token, json={"name": name}))
            have[name] = team
            if team["lineup"] is None:
                self._submit(token, team["team_id"], lineup(market, random.Random(name)))  # noqa: S311 - a game
        return [str(have[name]["team_id"]) for name in names]

    def _submit(self, token: str, team_id: str, wanted: Json) -> None:
        """Submit for the round that is open; none is open once the season is over."""
        path = f"/teams/{team_id}/lineup"
        response = self._call("leagues", "PUT", path, token, json=wanted)
        if response.status_code == httpx.codes.CONFLICT:
            following = self._call("leagues", "GET", "/rounds/next")
            if following.is_error:
                return
            named = wanted | {"round": following.json()["round"]}
            response = self._call("leagues", "PUT", path, token, json=named)
        self._expect(response)

    def _league(self, token: str, team_id: str) -> Json:
        found = self._expect(self._call("leagues", "GET", "/leagues", token, params={"mine": True, "search": LEAGUE}))
        for league in found["items"]:
            if league["name"] == LEAGUE:
                return dict(league)
        wanted = {"name": LEAGUE, "description": "Open to everybody.", "max_members": None, "team_id": team_id}
        return self._expect(self._call("leagues", "POST", "/leagues", token, json=wanted))

    def _rival(self, number: int, names: Sequence[str], demo: Demo) -> None:
        """One more player: an account, teams, line-ups, a place in the league."""
        if self._ending.is_set():
            return
        token = self._enter(f"rival_{number:03}", f"Aa1-{self._secret}-{number}")
        team_id = self._teams(token, names, demo.market)[0]
        joined = self._call("leagues", "POST", f"/leagues/{demo.league_id}/join", token, json={"team_id": team_id})
        if joined.status_code != httpx.codes.CONFLICT:  # a member already
            self._expect(joined)


def names() -> Iterator[str]:
    """Different team names without end."""
    series = 1
    while True:
        for second in SECOND:
            for first in FIRST:
                yield f"{first} {second}" if series == 1 else f"{first} {second} {series}"
        series += 1


def lineup(market: Json, dice: random.Random) -> Json:
    """A line-up within the cap: of several that dice give, the dearest, as people like to spend what they have."""
    drivers, constructors = pickable(market, "drivers"), pickable(market, "constructors")
    found: list[tuple[int, Json]] = []
    for _ in range(TRIES):
        five = dice.sample(drivers, PICKED[0])
        two = dice.sample(constructors, PICKED[1])
        cost = sum(asset["price"] for asset in (*five, *two))
        if cost <= market["cap"]:
            found.append((cost, {"drivers": _ids(five, "driver_id"), "constructors": _ids(two, "constructor_id")}))
        if len(found) == THROWS:
            break
    if not found:
        raise DevstackError(f"no line-up within {market['cap']} was found in {TRIES} throws of the dice")
    return max(found, key=lambda each: each[0])[1]


def pickable(market: Json, kind: str) -> list[Json]:
    """The ``drivers`` or ``constructors`` of a market that have a price, and drivers also a seat."""
    return [asset for asset in market[kind] if asset["price"] is not None and asset["constructor_id"] is not None]


def _ids(assets: Sequence[Json], key: str) -> list[str]:
    return [str(asset[key]) for asset in assets]
