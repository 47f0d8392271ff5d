"""A world to play in: the service over HTTP on a real PostgreSQL, fed with events as its consumers would be.

NATS is out of reach in most of these tests, on purpose: the service answers all the same, what it publishes stays in
the outbox where it can be counted, and nobody else's events arrive. `test_event_flow` has NATS.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from sqlalchemy import text

from common import clock
from common.contracts import REGISTRY, Event
from common.contracts.auth import UserRegistered
from common.contracts.ingest import Constructor, Driver, Race, SeasonSynced, Session, SessionKind, Stint
from common.contracts.scoring import AssetKind, AssetPrice, PricesChanged
from common.db import Database
from devstack.testing import SettingsMaker, TokenMaker, running
from leagues.app import create_app
from leagues.consumers import consumers
from leagues.models import metadata
from leagues.settings import LeaguesSettings

NOWHERE = "nats://127.0.0.1:1"
SEASON = 2026
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

DRIVERS = ["albon", "alonso", "gasly", "hamilton", "leclerc", "norris", "piastri", "russell"]
CONSTRUCTORS = ["ferrari", "mclaren", "mercedes", "williams"]
FIVE, TWO = DRIVERS[:5], CONSTRUCTORS[:2]


def race(
    number: int, lock_at: datetime, *, race_at: datetime | None = None, sprint: bool = False, season: int = SEASON
) -> Race:
    race_at = race_at or lock_at + DAY
    locking = SessionKind.SPRINT if sprint else SessionKind.QUALIFYING
    sessions = [Session(kind=SessionKind.FP1, starts_at=lock_at - DAY), Session(kind=locking, starts_at=lock_at)]
    if sprint:
        sessions.append(Session(kind=SessionKind.QUALIFYING, starts_at=lock_at + (race_at - lock_at) / 2))
    sessions.append(Session(kind=SessionKind.RACE, starts_at=race_at))
    return Race(
        race_id=f"{season}-circuit{number}",
        round=number,
        name=f"Grand Prix {number}",
        circuit_id=f"circuit{number}",
        circuit_name=f"Circuit {number}",
        locality="Somewhere",
        country="Elsewhere",
        sprint=sprint,
        sessions=sessions,
    )


def synced(
    races: list[Race], version: int = 1, season: int = SEASON, *, drivers: list[str] | None = None
) -> SeasonSynced:
    return SeasonSynced(
        season=season,
        season_version=version,
        simulated=True,
        races=races,
        drivers=[
            Driver(
                driver_id=name, given_name="Some", family_name=name, code=name[:3].upper(), number=n, nationality=None
            )
            for n, name in enumerate(drivers or DRIVERS)
        ],
        constructors=[Constructor(constructor_id=name, name=name.title(), nationality=None) for name in CONSTRUCTORS],
        stints=[
            Stint(driver_id=name, constructor_id=CONSTRUCTORS[n % 4], from_round=1, to_round=None)
            for n, name in enumerate(drivers or DRIVERS)
        ],
    )


def priced(version: int = 1, effective_round: int = 1, season: int = SEASON, **changes: int) -> PricesChanged:
    """Five drivers and two constructors cost 90.0M at these prices."""
    drivers = dict.fromkeys(DRIVERS, 100) if version == 1 else {}
    constructors = dict.fromkeys(CONSTRUCTORS, 200) if version == 1 else {}
    drivers |= {name: price for name, price in changes.items() if name in DRIVERS}
    constructors |= {name: price for name, price in changes.items() if name in CONSTRUCTORS}
    return PricesChanged(
        season=season,
        effective_round=effective_round,
        price_version=version,
        prices=[
            *(AssetPrice(kind=AssetKind.DRIVER, asset_id=name, price=price) for name, price in drivers.items()),
            *(
                AssetPrice(kind=AssetKind.CONSTRUCTOR, asset_id=name, price=price)
                for name, price in constructors.items()
            ),
        ],
    )


class Caller:
    """A user with a token."""

    def __init__(self, http: httpx.AsyncClient, tokens: TokenMaker, username: str) -> None:
        self.id = uuid4()
        self.username = username
        self._http = http
        self._headers = tokens.headers(self.id, username)

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self._http.get(f"/api/v1{path}", params=query, headers=self._headers)

    async def post(self, path: str, body: Any) -> httpx.Response:
        return await self._http.post(f"/api/v1{path}", json=body, headers=self._headers)

    async def put(self, path: str, body: Any) -> httpx.Response:
        return await self._http.put(f"/api/v1{path}", json=body, headers=self._headers)

    async def raw(self, method: str, path: str, body: bytes) -> httpx.Response:
        headers = self._headers | {"Content-Type": "application/json"}
        return await self._http.request(method, f"/api/v1{path}", content=body, headers=headers)

    async def team(self, name: str = "Slipstream", **body: Any) -> str:
        response = await self.post("/teams", {"name": name, **body})
        assert response.status_code == 201, response.text
        return str(response.json()["team_id"])

    async def league(self, name: str = "Sunday Drivers", **body: Any) -> dict[str, Any]:
        response = await self.post("/leagues", {"name": name, **body})
        assert response.status_code == 201, response.text
        return dict(response.json())

    async def submit(self, team_id: str, **body: Any) -> httpx.Response:
        return await self.put(f"/teams/{team_id}/lineup", {"drivers": FIVE, "constructors": TWO, **body})


class World:
    """The service, its database and whoever plays."""

    race = staticmethod(race)
    synced = staticmethod(synced)
    priced = staticmethod(priced)
    season = SEASON
    drivers, constructors = DRIVERS, CONSTRUCTORS

    def __init__(self, http: httpx.AsyncClient, database: Database, tokens: TokenMaker) -> None:
        self.http = http
        self.database = database
        self._tokens = tokens

    def caller(self, username: str = "somebody") -> Caller:
        return Caller(self.http, self._tokens, username)

    async def feed(self, *events: Event) -> None:
        for event in events:
            for consumer in consumers.all:
                if isinstance(event, consumer.events):
                    async with self.database.transaction() as session:
                        await consumer.handle(event, session)

    async def open(self, *, lock_in: timedelta = HOUR) -> None:
        """A season of three rounds of which none is locked, with prices."""
        first = clock.now() + lock_in
        await self.feed(synced([race(number, first + (number - 1) * 7 * DAY) for number in (1, 2, 3)]), priced())

    async def running_weekend(self) -> None:
        """Round 1 is locked and its race starts in an hour; rounds 2 and 3 are ahead."""
        now = clock.now()
        first = race(1, now - HOUR, race_at=now + HOUR)
        await self.feed(synced([first, race(2, now + 7 * DAY), race(3, now + 14 * DAY)]), priced())

    async def register(self, caller: Caller) -> None:
        await self.feed(UserRegistered(user_id=caller.id, username=caller.username, registered_at=clock.now()))

    async def rows(self, sql: str, **parameters: Any) -> list[Any]:
        async with self.database.transaction() as session:
            return list((await session.execute(text(sql), parameters)).all())

    async def execute(self, sql: str, **parameters: Any) -> None:
        async with self.database.transaction() as session:
            await session.execute(text(sql), parameters)

    async def events(self, subject: str) -> list[Any]:
        """What was given to the outbox, oldest first, timers included."""
        rows = await self.rows("SELECT body FROM outbox WHERE subject = :subject ORDER BY id", subject=subject)
        return [msgspec.json.decode(row.body, type=REGISTRY[subject]) for row in rows]

    async def snapshot(self) -> dict[str, list[Any]]:
        """Every row of every table but the inbox, in a comparable form."""
        return {
            table.name: sorted(str(row[0]) for row in await self.rows(f"SELECT t::text FROM {table.name} t"))
            for table in metadata.sorted_tables
            if table.name != "inbox"
        }


@pytest.fixture(scope="session")
async def settings(settings_for: SettingsMaker) -> LeaguesSettings:
    settings: LeaguesSettings = await settings_for("leagues", LeaguesSettings)
    return settings


@pytest.fixture(scope="session")
async def database(settings: LeaguesSettings) -> AsyncIterator[Database]:
    database = Database(settings, "leagues")
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def http(settings: LeaguesSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(msgspec.structs.replace(settings, nats_url=NOWHERE))) as client:
        yield client


@pytest.fixture
async def world(http: httpx.AsyncClient, database: Database, tokens: TokenMaker) -> World:
    """An empty schema."""
    world = World(http, database, tokens)
    await world.execute(f"TRUNCATE {', '.join(table.name for table in metadata.sorted_tables)}")
    return world
