"""Scoring one round for every team, against a bare `INSERT … SELECT` of as many rows, in one run, on one server.

python bench/standings.py [--teams 10000 100000] [--json]

Teams, line-ups and a result are stored; then the service's own scorer scores the second of two rounds, with totals
carried from the first. The bare statement fills a table with the same columns and the same primary key.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
from sqlalchemy import text

from common import clock, migrate
from common.contracts.ingest import Car, CarStatus, ResultsSynced, ResultStatus, SessionKind
from common.db import Database
from devstack import servers
from scoring.consumers import store_result
from scoring.scorer import Scorer
from scoring.settings import ScoringSettings

SEASON = 2025
DRIVERS, CONSTRUCTORS = 22, 11
BARE = """
CREATE TABLE bare (season int, round int, score_version int, team_id uuid, round_points int, total int, rank int,
    place int, PRIMARY KEY (season, round, score_version, team_id))
"""
FILL_BARE = "INSERT INTO bare SELECT season, 2, 1, team_id, 1, 2, 3, 4 FROM teams"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of one size, and how many times the bare statement the scoring takes."""

    teams: int
    score_seconds: float
    bare_seconds: float
    rescore_seconds: float
    teams_per_second: float
    ratio: float


@asynccontextmanager
async def service(folder: Path) -> AsyncIterator[Database]:
    """Start PostgreSQL with an empty schema of scoring."""
    postgres = servers.start_postgres(folder / "postgres", durable=True)
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE SCHEMA scoring")
    await connection.close()
    await migrate.upgrade("scoring", postgres.url)
    database = Database(ScoringSettings(database_url=postgres.url), "scoring")
    try:
        yield database
    finally:
        await database.close()
        postgres.stop()


async def enter(database: Database, teams: int) -> None:
    """Store teams with a line-up each."""
    luck = random.Random(2025)  # noqa: S311 - no secret
    connection = await database.connect_raw("bench")
    await connection.execute("TRUNCATE teams, lineups, assets, results, standings, scored_rounds, ledger, outbox")
    await connection.execute(
        "INSERT INTO assets (slot, kind, asset_id) OVERRIDING SYSTEM VALUE"
        " SELECT n, 'driver', 'd' || n FROM generate_series(1, $1::int) AS n UNION ALL"
        " SELECT $1 + n, 'constructor', 'c' || n FROM generate_series(1, $2::int) AS n",
        DRIVERS,
        CONSTRUCTORS,
    )
    await connection.execute(
        "INSERT INTO teams SELECT gen_random_uuid(), gen_random_uuid(), $1, 'Team ' || n, now()"
        " FROM generate_series(1, $2::int) AS n",
        SEASON,
        teams,
    )
    rows = await connection.fetch("SELECT team_id FROM teams")
    held = [
        [*luck.sample(range(1, DRIVERS + 1), 5), *luck.sample(range(DRIVERS + 1, DRIVERS + CONSTRUCTORS + 1), 2)]
        for _ in range(1000)
    ]
    lineups = [(row["team_id"], 1, SEASON, 1, luck.choice(held)) for row in rows]
    columns = ["team_id", "lineup_version", "season", "effective_round", "slots"]
    await connection.copy_records_to_table("lineups", records=lineups, columns=columns)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def result(number: int, version: int = 1) -> ResultsSynced:
    """Invent a race."""
    luck = random.Random(number * 100 + version)  # noqa: S311 - no secret
    order = luck.sample(range(1, DRIVERS + 1), DRIVERS)
    cars = [
        Car(
            driver_id=f"d{driver}",
            constructor_id=f"c{(driver + 1) // 2}",
            number=None,
            position=place,
            status=CarStatus.FINISHED,
            status_text="",
            grid=driver,
        )
        for place, driver in enumerate(order, start=1)
    ]
    return ResultsSynced(
        season=SEASON,
        round=number,
        race_id=f"{SEASON}-{number}",
        session=SessionKind.RACE,
        result_version=version,
        status=ResultStatus.FINAL,
        content_hash="",
        observed_at=clock.now(),
        classification=cars,
    )


async def timed_score(database: Database, scorer: Scorer, event: ResultsSynced) -> float:
    """Store a result and score its round; return the seconds of the scoring."""
    async with database.transaction() as session:
        await store_result(event, session)
    started = time.perf_counter()
    await scorer.step(SEASON)
    return time.perf_counter() - started


async def timed_bare(database: Database) -> float:
    """Fill the bare table; return seconds."""
    connection = await database.connect_raw("bench")
    await connection.execute("DROP TABLE IF EXISTS bare")
    await connection.execute(BARE)
    started = time.perf_counter()
    await connection.execute(FILL_BARE, timeout=600)
    seconds = time.perf_counter() - started
    await connection.execute("DROP TABLE bare")
    await connection.close()
    return seconds


async def measure(database: Database, teams: int) -> Figures:
    """Score the second round, and once more after an amendment; compare with the bare statement."""
    await enter(database, teams)
    scorer = Scorer(database, ScoringSettings())
    await timed_score(database, scorer, result(1))
    async with database.engine.connect() as connection:
        await connection.execute(text("ANALYZE standings"))
    score = await timed_score(database, scorer, result(2))
    rescore = await timed_score(database, scorer, result(2, version=2))
    bare = min([await timed_bare(database) for _ in range(3)])
    return Figures(
        teams=teams,
        score_seconds=round(score, 3),
        bare_seconds=round(bare, 3),
        rescore_seconds=round(rescore, 3),
        teams_per_second=round(teams / score),
        ratio=round(score / bare, 2),
    )


async def run(sizes: list[int], folder: Path) -> list[Figures]:
    """Measure every size on one server."""
    async with service(folder) as database:
        return [await measure(database, teams) for teams in sizes]


def main() -> None:
    """Print the table, and with --json one object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teams", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(run(arguments.teams, Path(folder)))
    print(f"{'teams':>10}{'score s':>10}{'again s':>10}{'bare s':>10}{'teams/s':>12}{'ratio':>8}")
    for one in figures:
        print(
            f"{one.teams:>10,}{one.score_seconds:>10.3f}{one.rescore_seconds:>10.3f}{one.bare_seconds:>10.3f}"
            f"{one.teams_per_second:>12,.0f}{one.ratio:>8.2f}"
        )
    if arguments.json:
        print(msgspec.json.encode({"sizes": figures}).decode())


if __name__ == "__main__":
    main()
