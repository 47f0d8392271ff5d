from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import msgspec
import pytest

from analytics.app import create_app
from analytics.consumers import consumers
from analytics.models import metadata
from analytics.settings import AnalyticsSettings
from common.contracts import Event, decode, encode
from common.contracts.ingest import (
    Car,
    CarStatus,
    Constructor,
    Driver,
    Race,
    ResultsAmended,
    ResultsSynced,
    ResultStatus,
    SeasonSynced,
    Session,
    SessionKind,
)
from common.db import Database
from devstack.testing import SettingsMaker, running

NOWHERE = "nats://127.0.0.1:1"
DRIVERS = {"VER": "red_bull", "NOR": "mclaren", "PIA": "mclaren", "LEC": "ferrari"}
POINTS = {SessionKind.RACE: (25, 18, 15, 12), SessionKind.SPRINT: (8, 7, 6, 5)}


@pytest.fixture(scope="session")
async def settings(settings_for: SettingsMaker) -> AnalyticsSettings:
    made: AnalyticsSettings = await settings_for("analytics", AnalyticsSettings)
    return made


@pytest.fixture(scope="session")
async def pool(settings: AnalyticsSettings) -> AsyncIterator[Database]:
    """A pool of the tests' own: what it sees is committed."""
    database = Database(settings, "analytics")
    yield database
    await database.close()


@pytest.fixture
async def database(pool: Database) -> Database:
    """An empty schema."""
    async with pool.transaction() as session:
        for table in reversed(metadata.sorted_tables):
            await session.execute(table.delete())
    return pool


@pytest.fixture(scope="session")
async def deaf_client(settings: AnalyticsSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(msgspec.structs.replace(settings, nats_url=NOWHERE))) as http:
        yield http


@pytest.fixture
async def client(deaf_client: httpx.AsyncClient, database: Database) -> httpx.AsyncClient:  # noqa: ARG001 - empties it
    """A client of a service that no event reaches but those a test feeds it; its tables are empty."""
    return deaf_client


Feed = Callable[..., Awaitable[None]]


@pytest.fixture
def feed(database: Database) -> Feed:
    """Handle events one by one, each in a transaction, without an inbox that would keep a second delivery away."""

    async def handle(*events: Event) -> None:
        for event in events:
            handlers = [consumer.handle for consumer in consumers.all if type(event) in consumer.events]
            assert handlers, f"nobody listens to {event.subject}"
            for handler in handlers:
                async with database.transaction() as session:
                    await handler(decode(type(event), encode(event)), session)

    return handle


class Make:
    """Makes events of small seasons: four drivers, a race every week from the first of March."""

    @staticmethod
    def race(
        season: int, number: int, *, name: str | None = None, starts_at: datetime | None = None, sprint: bool = False
    ) -> Race:
        circuit = name or f"circuit_{number}"
        starts = starts_at or datetime(season, 3, 1, 14, tzinfo=UTC) + timedelta(weeks=number)
        before = {SessionKind.QUALIFYING: timedelta(days=1)}
        if sprint:
            before = {SessionKind.SPRINT: timedelta(hours=28), SessionKind.QUALIFYING: timedelta(days=1)}
        sessions = [Session(kind=kind, starts_at=starts - ahead) for kind, ahead in before.items()]
        return Race(
            race_id=f"{season}-{circuit}",
            round=number,
            name=f"{circuit} Grand Prix",
            circuit_id=circuit,
            circuit_name=f"{circuit} circuit",
            locality="Somewhere",
            country="Nowhere",
            sprint=sprint,
            sessions=[*sessions, Session(kind=SessionKind.RACE, starts_at=starts)],
        )

    def season(
        self, season: int, *, version: int = 1, races: list[Race] | None = None, simulated: bool = False
    ) -> SeasonSynced:
        drivers = [
            Driver(
                driver_id=code.lower(),
                given_name=f"Given {code}",
                family_name=f"Family {code}",
                code=code,
                number=number,
                nationality="Dutch",
            )
            for number, code in enumerate(DRIVERS, start=1)
        ]
        names = sorted(set(DRIVERS.values()))
        return SeasonSynced(
            season=season,
            season_version=version,
            simulated=simulated,
            races=[self.race(season, number) for number in (1, 2, 3)] if races is None else races,
            drivers=drivers,
            constructors=[Constructor(constructor_id=name, name=name.title(), nationality="British") for name in names],
            stints=[],
        )

    @staticmethod
    def cars(codes: str, session: SessionKind = SessionKind.RACE, out: str = "") -> list[Car]:
        """Classify drivers in the order of their codes, then those that are out."""
        classified = codes.split()
        return [
            Car(
                driver_id=code.lower(),
                constructor_id=DRIVERS[code],
                number=1,
                position=place,
                status=CarStatus.FINISHED if place <= len(classified) else CarStatus.DNF,
                status_text="",
                points=Decimal(POINTS[session][place - 1] if place <= len(classified) else 0),
            )
            for place, code in enumerate([*classified, *out.split()], start=1)
        ]

    def result(
        self,
        race: Race,
        codes: str,
        *,
        version: int = 1,
        session: SessionKind = SessionKind.RACE,
        out: str = "",
    ) -> ResultsSynced | ResultsAmended:
        """Publish the first version of a classification, or with a higher version an amended one."""
        facts = {
            "season": int(race.race_id.split("-", maxsplit=1)[0]),
            "round": race.round,
            "race_id": race.race_id,
            "session": session,
            "result_version": version,
            "content_hash": f"{version:064x}",
            "observed_at": race.sessions[-1].starts_at + timedelta(hours=2 * version),
            "classification": self.cars(codes, session, out),
        }
        if version == 1:
            return msgspec.convert({**facts, "status": ResultStatus.PROVISIONAL}, ResultsSynced)
        return msgspec.convert({**facts, "status": ResultStatus.AMENDED, "reason": "a penalty"}, ResultsAmended)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
