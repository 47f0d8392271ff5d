"""Scoring on a real database: facts come in through the handlers, as the bus brings them."""

import random
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from common.contracts import Event
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
    Stint,
)
from common.contracts.leagues import (
    GameMode,
    LeagueCreated,
    LeagueJoined,
    LineupsLocked,
    LineupSubmitted,
    TeamCreated,
)
from common.db import Database, is_outage
from devstack.testing import SettingsMaker, eventually
from scoring.consumers import consumers
from scoring.models import metadata
from scoring.scorer import Scorer
from scoring.settings import ScoringSettings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEEK = timedelta(days=7)


class Story:
    """Tells facts of a season of ten constructors with two drivers each; ids of teams follow from their numbers."""

    season = 2026
    constructors = tuple(f"c{number:02d}" for number in range(10))
    drivers = tuple(f"d{number:02d}" for number in range(20))

    def race_id(self, number: int) -> str:
        return f"{self.season}-circuit{number:02d}"

    def starts_at(self, number: int) -> datetime:
        """When the qualifying of a round starts, and line-ups are locked."""
        return START + number * WEEK

    def calendar(
        self, *, version: int = 1, rounds: int = 3, races: list[Race] | None = None, stints: list[Stint] | None = None
    ) -> SeasonSynced:
        return SeasonSynced(
            season=self.season,
            season_version=version,
            simulated=True,
            races=races if races is not None else [self.race(number) for number in range(1, rounds + 1)],
            drivers=[
                Driver(driver_id=one, given_name=one, family_name=one, code=None, number=None, nationality=None)
                for one in self.drivers
            ],
            constructors=[Constructor(constructor_id=one, name=one, nationality=None) for one in self.constructors],
            stints=stints if stints is not None else self.stints(),
        )

    def race(self, number: int, circuit: int | None = None) -> Race:
        kinds = [SessionKind.QUALIFYING, SessionKind.RACE]
        if number == 2:
            kinds.insert(0, SessionKind.SPRINT)
        return Race(
            race_id=self.race_id(circuit or number),
            round=number,
            name=f"Grand Prix {number}",
            circuit_id=f"circuit{number}",
            circuit_name="Circuit",
            locality="Town",
            country="Country",
            sprint=number == 2,
            sessions=[
                Session(kind=kind, starts_at=self.starts_at(number) + timedelta(hours=place))
                for place, kind in enumerate(kinds)
            ],
        )

    def stints(self) -> list[Stint]:
        return [
            Stint(driver_id=driver, constructor_id=self.seat(driver), from_round=1, to_round=None)
            for driver in self.drivers
        ]

    def seat(self, driver_id: str) -> str:
        return self.constructors[int(driver_id[1:]) // 2]

    def cars(
        self,
        session: SessionKind,
        order: Iterable[str] | None = None,
        statuses: dict[str, CarStatus] | None = None,
        seed: int = 0,
    ) -> list[Car]:
        order = list(order or self.drivers)
        shuffled = random.Random(seed)  # noqa: S311 - no secret
        grid = shuffled.sample(range(1, len(order) + 1), len(order))
        fastest = shuffled.choice(order)
        raced = session is not SessionKind.QUALIFYING
        return [
            Car(
                driver_id=driver,
                constructor_id=self.seat(driver),
                number=None,
                position=place + 1,
                status=(statuses or {}).get(driver, CarStatus.FINISHED),
                status_text="",
                grid=grid[place] if raced else None,
                fastest_lap_rank=1 if raced and driver == fastest else None,
                q1=None if raced else "1:20.000",
            )
            for place, driver in enumerate(order)
        ]

    def result(
        self,
        number: int,
        session: SessionKind = SessionKind.RACE,
        *,
        version: int = 1,
        cars: list[Car] | None = None,
        circuit: int | None = None,
    ) -> ResultsSynced | ResultsAmended:
        values: dict[str, Any] = {
            "season": self.season,
            "round": number,
            "race_id": self.race_id(circuit or number),
            "session": session,
            "result_version": version,
            "content_hash": f"{number}{session}{version}",
            "observed_at": START,
            "classification": cars if cars is not None else self.cars(session, seed=number),
        }
        if version == 1:
            return ResultsSynced(**values, status=ResultStatus.FINAL)
        return ResultsAmended(**values, status=ResultStatus.AMENDED, reason="a decision of the stewards")

    def lock(self, number: int) -> LineupsLocked:
        return LineupsLocked(
            season=self.season, round=number, race_id=self.race_id(number), locked_at=self.starts_at(number)
        )

    def team(self, number: int, *, name: str | None = None, before_round: int = 1) -> TeamCreated:
        return TeamCreated(
            team_id=UUID(int=number),
            user_id=UUID(int=10_000 + number),
            name=name or f"Team {number:05d}",
            season=self.season,
            created_at=self.starts_at(before_round) - timedelta(days=2),
        )

    def lineup(
        self, team: int, drivers: Iterable[str], constructors: Iterable[str], *, version: int = 1, from_round: int = 1
    ) -> LineupSubmitted:
        return LineupSubmitted(
            team_id=UUID(int=team),
            user_id=UUID(int=10_000 + team),
            season=self.season,
            effective_round=from_round,
            lineup_version=version,
            drivers=list(drivers),
            constructors=list(constructors),
            cost=900,
            submitted_at=self.starts_at(from_round) - timedelta(days=1),
        )

    def league(self, number: int, *, owner: int = 1, private: bool = False) -> LeagueCreated:
        return LeagueCreated(
            league_id=UUID(int=50_000 + number),
            name=f"League {number}",
            season=self.season,
            mode=GameMode.BUDGET,
            private=private,
            owner_id=UUID(int=10_000 + owner),
            created_at=START,
        )

    def joined(self, league: int, team: int, *, version: int = 1, with_team: bool = True) -> LeagueJoined:
        return LeagueJoined(
            league_id=UUID(int=50_000 + league),
            user_id=UUID(int=10_000 + team),
            team_id=UUID(int=team) if with_team else None,
            membership_version=version,
            joined_at=START,
        )

    def random_lineup(
        self, team: int, luck: random.Random, *, version: int = 1, from_round: int = 1
    ) -> LineupSubmitted:
        drivers, constructors = luck.sample(self.drivers, 5), luck.sample(self.constructors, 2)
        return self.lineup(team, drivers, constructors, version=version, from_round=from_round)


class Stage:
    """The service without HTTP and NATS: events go to its handlers, and scoring happens when a test says so."""

    def __init__(self, database: Database, settings: ScoringSettings) -> None:
        self.database = database
        self.scorer = Scorer(database, settings)

    async def tell(self, *events: Event) -> None:
        """Bring events to every handler that listens, each in a transaction of its own."""
        for event in events:
            for consumer in consumers.all:
                if type(event) in consumer.events:
                    async with self.database.transaction() as session:
                        await consumer.apply([event], session)

    async def settle(self) -> None:
        """Score until nothing waits; where the service runs too, whoever comes first does it."""

        async def settled() -> bool:
            await self.scorer.settle()
            return await self.rows("SELECT 1 FROM dirty_rounds LIMIT 1") == []

        await eventually(settled, what="the end of scoring")

    async def play(self, *events: Event) -> None:
        """Tell and settle."""
        await self.tell(*events)
        await self.settle()

    async def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        async with self.database.transaction() as session:
            return [tuple(row) for row in await session.execute(text(query), parameters)]

    async def published(self, subject: str) -> list[bytes]:
        """Bodies of stored events, in the order in which they leave."""
        rows = await self.rows("SELECT body FROM outbox WHERE subject = :subject ORDER BY id", subject=subject)
        return [row[0] for row in rows]

    async def outcome(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that follows from the facts, without versions and times."""
        return {
            "ledger": await self.rows(
                "SELECT * FROM ledger ORDER BY season, round, session, kind, asset_id, component"
            ),
            "rounds": await self.rows(
                "SELECT season, round, race_id, rule_set, rule_hash, sessions::text, final, teams FROM scored_rounds"
                " WHERE sessions <> '{}' ORDER BY season, round"
            ),
            "standings": await self.rows(
                "SELECT season, round, place, rank, team_id, round_points, total"
                " FROM standings NATURAL JOIN scored_rounds ORDER BY season, round, place"
            ),
            "prices": await self.rows(
                "SELECT season, kind, asset_id, price FROM prices ORDER BY season, kind, asset_id"
            ),
        }

    async def clear(self) -> None:
        """Empty every table, as soon as a service that runs too lets go of them."""
        names = ", ".join(table.name for table in metadata.sorted_tables)

        async def cleared() -> bool:
            try:
                async with self.database.transaction() as session:
                    await session.execute(text(f"TRUNCATE {names}"))
            except DBAPIError as error:
                if is_outage(error):  # a deadlock with the service's scorer or relay
                    return False
                raise
            return True

        await eventually(cleared, what="empty tables")


@pytest.fixture(scope="session")
async def settings(settings_for: SettingsMaker) -> ScoringSettings:
    made: ScoringSettings = await settings_for("scoring", ScoringSettings)
    return msgspec.structs.replace(made, coalesce_seconds=0.0)


@pytest.fixture(scope="session")
async def database(settings: ScoringSettings) -> AsyncIterator[Database]:
    """A pool of the tests' own."""
    database = Database(settings, "scoring")
    yield database
    await database.close()


@pytest.fixture
async def stage(database: Database, settings: ScoringSettings) -> Stage:
    """The service with empty tables."""
    stage = Stage(database, settings)
    await stage.clear()
    return stage


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def luck() -> random.Random:
    """The same luck every time."""
    return random.Random(2026)  # noqa: S311 - no secret
