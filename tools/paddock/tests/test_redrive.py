"""Redriving by command, through the real bus: the effect comes once, however often it is asked for (E12)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import asyncpg
import pytest
from nats.js import JetStreamContext
from sqlalchemy import Column, Integer, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock, delivery, letters, messaging, topology
from common.consumers import Consumers
from common.contracts import encode, schema_of, type_of
from common.contracts.auth import UserRegistered
from common.db import Database, service_metadata
from common.inbox import attempts_table, inbox_table
from common.messaging import Bus
from common.settings import Settings
from devstack.testing import Servers, eventually
from paddock import audit, operating
from paddock.dead_letters import LetterError, find

SERVICE = "analytics"
"""Whose letters commands take back; its schema is borrowed, in a database of these tests' own."""
DURABLE = f"{SERVICE}_count_user-registered"
METADATA = service_metadata()
inbox_table(METADATA)
attempts_table(METADATA)
COUNTED = Table("counted", METADATA, Column("id", Integer, primary_key=True), Column("name", Text, nullable=False))


@pytest.fixture(scope="module")
async def settings(prepared: Servers) -> Settings:
    connection = await asyncpg.connect(prepared.database_url)
    await connection.execute("CREATE DATABASE redrive_tests")
    await connection.close()
    url = prepared.database_url.rsplit("/", 1)[0] + "/redrive_tests"
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE SCHEMA {SERVICE}")
    await connection.close()
    return Settings(database_url=url, nats_url=prepared.nats_url)


@pytest.fixture(scope="module")
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(settings, SERVICE)
    async with opened.engine.begin() as sync:
        await sync.run_sync(METADATA.create_all)
    yield opened
    await opened.close()


@pytest.fixture
async def js(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JetStreamContext]:
    monkeypatch.setenv("NATS_URL", settings.nats_url)
    monkeypatch.setattr(delivery, "BUG_DELAYS_SECONDS", (0.01, 0.01, 0.01, 0.01))
    monkeypatch.setattr(messaging, "WATCH_SECONDS", 0.2)
    client = await topology.connect(settings.nats_url, "test")
    yield client.jetstream()
    await client.close()


class Counting:
    """A service whose handler has a bug, until it is mended; its effect shows how often it was applied."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.broken = True
        self._database = database
        registry = Consumers(SERVICE)

        @registry.on(UserRegistered)
        async def count(event: UserRegistered, session: AsyncSession) -> None:
            if self.broken:
                raise RuntimeError("a bug")
            await session.execute(text("INSERT INTO counted (name) VALUES (:name)"), {"name": event.username})

        self.bus = Bus(registry, database, settings)

    async def times(self, name: str) -> int:
        async with self._database.transaction() as session:
            query = text("SELECT count(*) FROM counted WHERE name = :name")
            return int(await session.scalar(query, {"name": name}) or 0)

    def has(self, name: str) -> Callable[[], Awaitable[int]]:
        return lambda: self.times(name)


@pytest.fixture
async def service(database: Database, settings: Settings, js: JetStreamContext) -> AsyncIterator[Counting]:
    await js.purge_stream(topology.EVENTS)
    await js.purge_stream(topology.DEAD_LETTERS)  # what other tests on the same server could not process
    counting = Counting(database, settings)
    task = asyncio.create_task(counting.bus.run())
    yield counting
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def send(js: JetStreamContext, name: str) -> str:
    """Publish an event; return the id that its letter will have."""
    event = UserRegistered(user_id=uuid4(), username=name, registered_at=clock.now())
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(uuid4()),
        "ce-type": type_of(event.subject),
        "ce-source": "/paddock/auth",
        "ce-subject": event.key(),
        "ce-time": clock.now().isoformat(),
        "ce-dataschema": schema_of(event.subject),
    }
    ack = await js.publish(event.subject, encode(event), headers=headers, stream=topology.EVENTS)
    return f"{DURABLE}:{ack.seq}"


async def buried(js: JetStreamContext, letter_id: str) -> None:
    async def there() -> bool:
        with contextlib.suppress(LetterError):
            await find(js, letter_id)
            return True
        return False

    await eventually(there, seconds=30, what="the letter")


async def settled(js: JetStreamContext) -> None:
    """Wait until the service has dealt with everything that was redriven."""

    async def nothing_left() -> bool:
        info = await js.consumer_info(topology.DEAD_LETTERS, f"{SERVICE}_redrive")
        return not info.num_pending and not info.num_ack_pending

    await eventually(nothing_left, seconds=30, what="the redriven letters")


async def test_a_redriven_letter_has_its_effect_once_and_a_second_redrive_has_none(
    js: JetStreamContext, service: Counting
) -> None:
    letter_id = await send(js, "once")
    await buried(js, letter_id)
    assert await service.times("once") == 0
    service.broken = False
    [done] = await operating.run("dlq", ["redrive", "--id", letter_id])
    assert "given back" in done
    await eventually(service.has("once"), seconds=30, what="the effect")
    with pytest.raises(operating.OperatingError, match="no letter"):
        await operating.run("dlq", ["redrive", "--id", letter_id])
    await settled(js)
    assert await service.times("once") == 1
    assert [act.action for act in await audit.read(js, 1)] == ["dlq.redrive"], "the one that found nothing did nothing"


async def test_a_redrive_that_was_cut_off_before_it_took_the_letter_away_can_be_done_again(
    js: JetStreamContext, service: Counting
) -> None:
    letter_id = await send(js, "cut-off")
    await buried(js, letter_id)
    letter, _ = await find(js, letter_id)
    service.broken = False
    place = f"redrive.{SERVICE}.{DURABLE}"
    kept = {**letters.event_headers(letter.headers), "paddock-consumer": DURABLE, "paddock-subject": letter.subject}
    await js.publish(place, letter.body, headers=kept)  # without the id by which JetStream would drop the second
    await eventually(service.has("cut-off"), seconds=30, what="the effect")
    await operating.run("dlq", ["redrive", "--id", letter_id])
    await settled(js)
    assert await service.times("cut-off") == 1
    assert await operating.run("dlq", ["list", "--consumer", DURABLE]) == ["no letters"]


async def test_two_operators_who_redrive_at_once_have_one_effect(js: JetStreamContext, service: Counting) -> None:
    letter_id = await send(js, "both")
    await buried(js, letter_id)
    service.broken = False
    asked = [operating.run("dlq", ["redrive", "--id", letter_id]) for _ in range(2)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refused = [str(outcome) for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(refused) <= 1
    assert [line for line in refused if "no letter" not in line] == []
    await eventually(service.has("both"), seconds=30, what="the effect")
    await settled(js)
    assert await service.times("both") == 1


async def test_a_letter_that_is_redriven_before_the_bug_is_mended_comes_back_as_one(
    js: JetStreamContext, service: Counting
) -> None:
    letter_id = await send(js, "again")
    await buried(js, letter_id)
    await operating.run("dlq", ["redrive", "--id", letter_id])
    redriven = await js.get_last_msg(topology.DEAD_LETTERS, f"redrive.{SERVICE}.{DURABLE}")
    second = f"{DURABLE}:r{redriven.seq}"
    await buried(js, second)
    service.broken = False
    await operating.run("dlq", ["redrive", "--id", second])
    await eventually(service.has("again"), seconds=30, what="the effect")
    await settled(js)
    assert await service.times("again") == 1


async def test_all_letters_go_back_but_those_of_somebody_outside_which_are_told(
    js: JetStreamContext, service: Counting
) -> None:
    ids = [await send(js, "all") for _ in range(3)]
    for letter_id in ids:
        await buried(js, letter_id)
    letter, _ = await find(js, ids[0])
    foreign = letters.Letter(**{**vars(letter), "durable": "discord", "number": "7"})
    assert await letters.write(js, foreign)
    service.broken = False
    with pytest.raises(operating.OperatingError, match=r"(?s)given back.*discord:7.*1 of 4 stay where they are"):
        await operating.run("dlq", ["redrive", "--all"])

    async def three() -> bool:
        return await service.times("all") == 3

    await eventually(three, seconds=30, what="three effects")
    [left] = json.loads((await operating.run("dlq", ["list", "--json"]))[0])
    assert left["id"] == "discord:7"
    await operating.run("dlq", ["drop", "--id", "discord:7"])


async def test_each_look_and_act_is_on_record_with_who_and_what(js: JetStreamContext, service: Counting) -> None:
    letter_id = await send(js, "watched")
    await buried(js, letter_id)
    await operating.run("dlq", ["list"])
    [shown] = await operating.run("dlq", ["show", letter_id, "--json"])
    facts = json.loads(shown)
    assert (facts["tries"], facts["error"], facts["reason"], facts["origin"]) == (5, "RuntimeError", "a bug", "bus")
    assert len(facts["trace"]) == 32
    assert facts["body"]["username"] == "watched"
    assert facts["headers"]["ce-id"] == facts["event"]
    await operating.run("dlq", ["drop", "--id", letter_id])
    [record] = await operating.run("audit", ["list", "--last", "3", "--json"])
    acts = json.loads(record)
    assert [act["action"] for act in acts] == ["dlq.list", "dlq.show", "dlq.drop"]
    assert {act["actor"] for act in acts} == {audit.actor()}
    assert acts[-1]["facts"] == {
        "letter": letter_id,
        "event": facts["event"],
        "subject": "user.registered",
        "error": "RuntimeError",
        "reason": "a bug",
    }
    assert await service.times("watched") == 0
