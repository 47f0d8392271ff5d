"""`paddock dlq`: letters are listed, shown, given back once and dropped, and each act is on record."""

from collections.abc import AsyncIterator, Iterator
from uuid import UUID, uuid4

import nats
import pytest
from nats.js import JetStreamContext

from common import letters, topology
from common.contracts import encode, samples, type_of
from common.letters import Letter
from devstack.nats import NatsServer
from devstack.servers import start_nats
from paddock import audit, operating, streams

DURABLE = "analytics_store-result_results-synced"
EVENT = next(event for event in samples.SAMPLES if event.subject == "results.synced")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    started = start_nats(tmp_path_factory.mktemp("nats"), durable=False)
    yield started
    started.stop()


@pytest.fixture
async def js(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JetStreamContext]:
    monkeypatch.setenv("NATS_URL", server.url)
    client = await nats.connect(server.url)
    await topology.apply(client.jetstream())
    await client.jetstream().purge_stream(topology.DEAD_LETTERS)
    yield client.jetstream()
    await client.close()


async def letter(js: JetStreamContext, durable: str = DURABLE, number: str = "7") -> UUID:
    event_id = uuid4()
    await letters.write(
        js,
        Letter(
            durable=durable,
            number=number,
            subject="results.synced",
            sequence=7,
            tries=5,
            error="RuntimeError",
            reason="no such\n driver: Räikkönen",
            trace_id="a" * 32,
            origin="bus",
            headers={"ce-id": str(event_id), "ce-type": type_of("results.synced"), "Nats-Msg-Id": "x"},
            body=encode(EVENT),
        ),
    )
    return event_id


async def acts(js: JetStreamContext) -> list[tuple[str, object]]:
    return [(act.action, act.facts.get("letter")) for act in await audit.read(js, 100)]


async def test_a_letter_is_listed_and_shown_with_all_that_is_known_of_it(js: JetStreamContext) -> None:
    event_id = await letter(js)
    (line,) = await operating.run("dlq", ["list"])
    assert f"{DURABLE}:7" in line
    assert "RuntimeError: no such driver: R?ikk?nen" in line
    shown = "\n".join(await operating.run("dlq", ["show", f"{DURABLE}:7"]))
    for fact in (str(event_id), "a" * 32, "results.synced", '"classification"', "Nats-Expected"):
        assert fact in shown, fact
    assert (await acts(js))[-2:] == [("dlq.list", None), ("dlq.show", f"{DURABLE}:7")]


async def test_there_is_one_letter_of_a_delivery_whoever_writes_it(js: JetStreamContext) -> None:
    await letter(js)
    await letter(js)
    assert len(await operating.run("dlq", ["list"])) == 1


async def test_a_letter_is_given_back_once(js: JetStreamContext) -> None:
    event_id = await letter(js)
    (done,) = await operating.run("dlq", ["redrive", "--id", f"{DURABLE}:7"])
    assert "given back" in done
    with pytest.raises(operating.OperatingError, match="no letter"):
        await operating.run("dlq", ["redrive", "--id", f"{DURABLE}:7"])
    redriven = await js.get_last_msg(topology.DEAD_LETTERS, f"redrive.analytics.{DURABLE}")
    assert redriven.headers is not None
    assert redriven.headers["ce-id"] == str(event_id)
    assert redriven.headers["paddock-redrive-of"] == f"{DURABLE}:7"
    assert redriven.data == encode(EVENT)
    assert await operating.run("dlq", ["list"]) == ["no letters"]
    assert ("dlq.redrive", f"{DURABLE}:7") in await acts(js)


async def test_all_letters_of_a_consumer_are_given_back_and_those_of_others_stay(js: JetStreamContext) -> None:
    other = "scoring_store-result_results-synced"
    for number in ("1", "2", "3"):
        await letter(js, number=number)
    await letter(js, other)
    assert len(await operating.run("dlq", ["redrive", "--consumer", DURABLE])) == 3
    (left,) = await operating.run("dlq", ["list"])
    assert other in left


async def test_a_dropped_letter_is_gone_and_on_record(js: JetStreamContext) -> None:
    await letter(js)
    await operating.run("dlq", ["drop", "--id", f"{DURABLE}:7"])
    assert await operating.run("dlq", ["list"]) == ["no letters"]
    (*_, last) = await operating.run("audit", ["list"])
    assert "dlq.list" in last
    assert ("dlq.drop", f"{DURABLE}:7") in await acts(js)


@pytest.mark.parametrize("wrong", ["", "nothing", "a:b", f"{DURABLE}:8", "*:7", f"{DURABLE}:r7", "a b:7"])
async def test_a_letter_that_is_not_there_is_told_in_words(wrong: str, js: JetStreamContext) -> None:
    await letter(js)
    with pytest.raises(operating.OperatingError, match="no letter"):
        await operating.run("dlq", ["show", wrong])


async def test_a_letter_of_somebody_outside_is_not_ours_to_redrive(js: JetStreamContext) -> None:
    await letter(js, "discord")
    with pytest.raises(operating.OperatingError, match="paddock events replay --consumer discord"):
        await operating.run("dlq", ["redrive", "--id", "discord:7"])
    assert len(await operating.run("dlq", ["list"])) == 1


async def test_the_check_finds_what_differs_and_what_is_missing(js: JetStreamContext) -> None:
    for stream, config in streams.durables():
        await js.add_consumer(stream, config)
    assert await operating.run("topology", ["check"]) == ["streams and consumers are as the code has them"]
    events = (await js.stream_info(topology.EVENTS)).config
    await js.update_stream(events.evolve(max_age=3600))
    stream, config = next(streams.durables())
    await js.add_consumer(stream, config.evolve(ack_wait=7))
    await js.delete_consumer(topology.DEAD_LETTERS, "scoring_redrive")
    with pytest.raises(operating.OperatingError) as found:
        await operating.run("topology", ["check"])
    assert str(found.value).splitlines() == [
        "stream EVENTS: max_age is 3600.0, should be 2592000",
        f"consumer {config.durable_name}: ack_wait is 7.0, should be 30",
        "consumer scoring_redrive is missing on DLQ",
    ]
    await topology.apply(js)
    assert (await js.stream_info(topology.EVENTS)).config.max_age == 2592000
