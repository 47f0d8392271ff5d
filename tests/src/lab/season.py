"""A season of many teams as events: three weekends, and as many teams, line-ups and memberships as are asked for."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

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
from common.contracts.leagues import GameMode, LeagueCreated, LeagueJoined, LineupsLocked, LineupSubmitted, TeamCreated

YEAR = 2026
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROUNDS = (1, 2, 3)
KINDS = (SessionKind.QUALIFYING, SessionKind.RACE)
CONSTRUCTORS = tuple(f"c{number:02d}" for number in range(11))
DRIVERS = tuple(f"d{number:02d}" for number in range(22))
LEAGUES = 50


def race_id(number: int) -> str:
    """Name the race of a round."""
    return f"{YEAR}-circuit{number:02d}"


def starts_at(number: int) -> datetime:
    """When line-ups of a round lock."""
    return START + number * timedelta(days=7)


def calendar(version: int = 1) -> SeasonSynced:
    """The races, and who drives for whom."""
    return SeasonSynced(
        season=YEAR,
        season_version=version,
        simulated=True,
        races=[_race(number) for number in ROUNDS],
        drivers=[
            Driver(driver_id=one, given_name=one, family_name=one, code=None, number=None, nationality=None)
            for one in DRIVERS
        ],
        constructors=[Constructor(constructor_id=one, name=one, nationality=None) for one in CONSTRUCTORS],
        stints=[
            Stint(driver_id=one, constructor_id=CONSTRUCTORS[place // 2], from_round=1, to_round=None)
            for place, one in enumerate(DRIVERS)
        ],
    )


def _race(number: int) -> Race:
    return Race(
        race_id=race_id(number),
        round=number,
        name=f"Grand Prix {number}",
        circuit_id=f"circuit{number}",
        circuit_name="Circuit",
        locality="Town",
        country="Country",
        sprint=False,
        sessions=[
            Session(kind=kind, starts_at=starts_at(number) + timedelta(hours=place)) for place, kind in enumerate(KINDS)
        ],
    )


def result(number: int, session: SessionKind, version: int = 1) -> ResultsSynced | ResultsAmended:
    """A classification; each version has an order of its own."""
    luck = random.Random(f"{number} {session} {version}")  # noqa: S311 - no secret
    order = luck.sample(DRIVERS, len(DRIVERS))
    raced = session is not SessionKind.QUALIFYING
    values: dict[str, Any] = {
        "season": YEAR,
        "round": number,
        "race_id": race_id(number),
        "session": session,
        "result_version": version,
        "content_hash": f"{number}{session}{version}",
        "observed_at": starts_at(number) + timedelta(days=1),
        "classification": [
            Car(
                driver_id=driver,
                constructor_id=CONSTRUCTORS[DRIVERS.index(driver) // 2],
                number=None,
                position=place,
                status=CarStatus.FINISHED,
                status_text="",
                grid=place if raced else None,
                fastest_lap_rank=1 if raced and place == version else None,
                q1=None if raced else "1:20.000",
            )
            for place, driver in enumerate(order, start=1)
        ],
    }
    if version == 1:
        return ResultsSynced(**values, status=ResultStatus.FINAL)
    return ResultsAmended(**values, status=ResultStatus.AMENDED, reason="a decision of the stewards")


def races() -> list[Event]:
    """What three weekends bring."""
    locks: list[Event] = [
        LineupsLocked(season=YEAR, round=number, race_id=race_id(number), locked_at=starts_at(number))
        for number in ROUNDS
    ]
    return locks + [result(number, kind) for number in ROUNDS for kind in KINDS]


def team(number: int, *, in_time: bool = True) -> TeamCreated:
    """A team that is there before the season, or one that comes after the last lock."""
    return TeamCreated(
        team_id=UUID(int=number),
        user_id=UUID(int=10_000_000 + number),
        name=f"Team {number:07d}",
        season=YEAR,
        created_at=START - timedelta(days=2) if in_time else starts_at(ROUNDS[-1]) + timedelta(days=2),
    )


def lineup(number: int, version: int = 1, effective_round: int | None = None) -> LineupSubmitted:
    """A team's line-up, which follows from its number; each version plays from the round of that number on."""
    luck = random.Random(number * 7 + version)  # noqa: S311 - no secret
    return LineupSubmitted(
        team_id=UUID(int=number),
        user_id=UUID(int=10_000_000 + number),
        season=YEAR,
        effective_round=effective_round or version,
        lineup_version=version,
        drivers=sorted(luck.sample(DRIVERS, 5)),
        constructors=sorted(luck.sample(CONSTRUCTORS, 2)),
        cost=900,
        submitted_at=starts_at(effective_round or version) - timedelta(days=1),
    )


def joined(number: int) -> LeagueJoined:
    """A team joins the league that follows from its number."""
    return LeagueJoined(
        league_id=UUID(int=50_000_000 + number % LEAGUES),
        user_id=UUID(int=10_000_000 + number),
        team_id=UUID(int=number),
        membership_version=1,
        joined_at=START,
    )


def entries(count: int) -> Iterator[Event]:
    """Exactly ``count`` events: the season, leagues, and teams with a line-up, a second one and a league."""
    made: list[Event] = [calendar()]
    made += [
        LeagueCreated(
            league_id=UUID(int=50_000_000 + number),
            name=f"League {number}",
            season=YEAR,
            mode=GameMode.BUDGET,
            private=False,
            owner_id=UUID(int=10_000_000 + number),
            created_at=START,
        )
        for number in range(LEAGUES)
    ]
    yield from made[:count]
    left = count - len(made)
    for place in range(left):
        number = place // 4 + 1
        yield (team(number), lineup(number), joined(number), lineup(number, version=2))[place % 4]
