"""The scoring service itself, 22 cars and 100,000 teams, killed with its servers: the standings are the same (E1)."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from common import clock, migrate, topology
from common.contracts.ingest import Car, CarStatus, ResultsAmended, ResultsSynced, ResultStatus, SessionKind
from devstack.servers import start_nats, start_postgres
from devstack.testing import PASSWORD, Servers, eventually
from lab import wire
from lab.process import Lab, Ledger, Process

pytestmark = pytest.mark.timeout(400)

SEASON = 2025
TEAMS = 100_000
CARS, CONSTRUCTORS = 22, 11
ROUNDS = 3
SEED = 11
DEATHS = ["scoring"] * 8 + ["nats"] * 2 + ["postgres"] * 2
LONGEST_PAUSE_SECONDS = 2.0

ASSETS = """
INSERT INTO assets (slot, kind, asset_id) OVERRIDING SYSTEM VALUE
SELECT n, 'driver', 'd' || n FROM generate_series(1, $1::int) AS n
UNION ALL SELECT $1 + n, 'constructor', 'c' || n FROM generate_series(1, $2::int) AS n
"""
TEAM_ROWS = """
INSERT INTO teams SELECT md5('team' || n)::uuid, md5('user' || n)::uuid, $1, 'Team ' || n, '2025-01-01'
FROM generate_series(1, $2::int) AS n
"""
LINEUPS = """
INSERT INTO lineups (team_id, lineup_version, season, effective_round, slots)
SELECT md5('team' || n)::uuid, 1, $1, 1,
       ARRAY(SELECT 1 + (n * 7 + i * 5) % 22 FROM generate_series(0, 4) AS i)
       || ARRAY[23 + n % 11, 23 + (n + 1 + n / 11 % 9) % 11]
FROM generate_series(1, $2::int) AS n
"""
STANDINGS = """
SELECT count(*), md5(string_agg(concat_ws(':', s.team_id, s.round, s.round_points, s.total, s.rank, s.place), ','
                                ORDER BY s.round, s.place, s.team_id))
FROM standings s JOIN scored_rounds r USING (season, round, score_version)
"""
DONE = """
SELECT (SELECT count(*) FROM dirty_rounds) = 0
   AND (SELECT count(*) FROM results WHERE result_version = 2) = $1
   AND (SELECT count(*) FROM scored_rounds) = $1
   AND (SELECT count(*) FROM outbox WHERE published_at IS NULL) = 0
"""


def race(number: int, version: int) -> ResultsSynced | ResultsAmended:
    """Invent a race of 22 cars, or another order of it."""
    order = random.Random(number * 100 + version).sample(range(1, CARS + 1), CARS)  # noqa: S311 - not a secret
    facts: dict[str, Any] = {
        "season": SEASON,
        "round": number,
        "race_id": f"{SEASON}-{number}",
        "session": SessionKind.RACE,
        "result_version": version,
        "content_hash": "",
        "observed_at": clock.now(),
        "classification": [
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
        ],
    }
    if version == 1:
        return ResultsSynced(status=ResultStatus.FINAL, **facts)
    return ResultsAmended(status=ResultStatus.AMENDED, reason="stewards", **facts)


class Pitlane:
    """The service on servers of its own."""

    def __init__(self, lab: Lab, postgres: Any, broker: Any) -> None:
        self.lab = lab
        self.postgres = postgres
        self.broker = broker
        self.urls = Servers(database_url=postgres.url, nats_url=broker.url, redis_url="redis://127.0.0.1:1")
        self.ledger = Ledger(postgres.url, "scoring")

    async def open(self) -> None:
        """Migrate, and enter the teams."""
        await migrate.bootstrap(self.postgres.url, dict.fromkeys(migrate.SERVICES, PASSWORD))
        await migrate.upgrade("scoring", self.urls.database_url_of("scoring"))
        connection = await asyncpg.connect(self.postgres.url, server_settings={"search_path": "scoring"})
        await connection.execute(ASSETS, CARS, CONSTRUCTORS)
        await connection.execute(TEAM_ROWS, SEASON, TEAMS, timeout=120)
        await connection.execute(LINEUPS, SEASON, TEAMS, timeout=120)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()

    async def reset(self) -> None:
        """Forget every race."""
        await self.ledger.rows(
            "TRUNCATE results, standings, scored_rounds, ledger, outbox, inbox, attempts, dirty_rounds, prices"
        )
        async with wire.connected(self.broker.url) as js:
            for name in (topology.EVENTS, topology.DEAD_LETTERS):
                if name in {info.config.name for info in await js.streams_info()}:
                    await js.delete_stream(name)
            await topology.apply(js)

    def start(self) -> Process:
        """Start the service as it is deployed."""
        port = self.lab.port()
        return self.lab.run(
            "scoring",
            {
                "PORT": str(port),
                "DATABASE_URL": self.urls.database_url_of("scoring"),
                "NATS_URL": self.broker.url,
                "PADDOCK_ENV": "development",
            },
            "scoring",
            port,
        )

    async def season(self, deaths: list[str]) -> tuple[Any, ...]:
        """Hold the races, and amend them, while the victims die; return count and hash of the standings."""
        await self.reset()
        chance = random.Random(SEED)  # noqa: S311 - not a secret
        chance.shuffle(deaths)
        service = self.start()
        async with wire.connected(self.broker.url) as js:
            await wire.publish(js, *(race(number, 1) for number in range(1, ROUNDS + 1)))
        amended = len(deaths) // 2
        for number, victim in enumerate(deaths):
            await asyncio.sleep(chance.uniform(0.1, LONGEST_PAUSE_SECONDS))
            if victim == "scoring":
                await service.kill()
                service = self.start()
            else:
                server = self.broker if victim == "nats" else self.postgres
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.revive)
            if number == amended:
                await self.amend()
        if not deaths:
            await self.amend()
        await eventually(self.done, seconds=120, what="the last scoring")
        result = (await self.ledger.rows(STANDINGS, seconds=60))[0]
        async with wire.connected(self.broker.url) as js:
            letters = await wire.read_all(js, topology.DEAD_LETTERS)
            streamed = [(message.headers or {})["ce-id"] for message in await wire.read_all(js, topology.EVENTS)]
        assert len(streamed) == len(set(streamed))
        assert letters == []
        await service.stop()
        return result

    async def amend(self) -> None:
        """Publish another order of each race."""
        async with wire.connected(self.broker.url) as js:
            await wire.publish(js, *(race(number, 2) for number in range(1, ROUNDS + 1)))

    async def done(self) -> bool:
        return bool((await self.ledger.rows(DONE, ROUNDS))[0][0])


@pytest.fixture
async def pitlane(lab: Lab, tmp_path: Path) -> AsyncIterator[Pitlane]:
    postgres = await asyncio.to_thread(start_postgres, tmp_path / "postgres", durable=True)
    broker = await asyncio.to_thread(start_nats, tmp_path / "nats", durable=True)
    made = Pitlane(lab, postgres, broker)
    await made.open()
    yield made
    await made.ledger.close()
    lab.end()
    broker.stop()
    postgres.stop()


async def test_the_standings_of_a_hundred_thousand_teams_survive_the_deaths_of_all(pitlane: Pitlane) -> None:
    calm = await pitlane.season([])
    begun = time.monotonic()
    stormy = await pitlane.season([*DEATHS])
    print(f"E1: {calm[0]:,} standings after {len(DEATHS)} deaths, {time.monotonic() - begun:.0f} s")  # noqa: T201
    assert calm[0] == TEAMS * ROUNDS
    assert stormy == calm
