"""`paddock events replay` gives a durable its past again; what an inbox knows has no second effect."""

from typing import Any

import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from common import topology
from devstack.testing import eventually, running
from lab import wire
from paddock.replay import replay
from paddock.stored import EventCommandError

OURS = "analytics_store-result_results-synced"
THEIRS = "sub_somebody"


async def read_all(past: Any) -> list[int]:
    """Read and acknowledge what waits for the subscriber."""
    subscription = await past.js.pull_subscribe_bind(durable=THEIRS, stream=topology.EVENTS)
    found = []
    while (await subscription.consumer_info()).num_pending:
        for message in await subscription.fetch(1, timeout=5):
            await message.ack_sync()
            found.append(message.metadata.sequence.stream)
    return found


@pytest.mark.parametrize("policy", [DeliverPolicy.ALL, DeliverPolicy.NEW])
async def test_a_subscriber_gets_the_past_again_from_where_the_operator_says(
    past: Any, weekend: Any, policy: DeliverPolicy
) -> None:
    """With ``NEW`` the server refuses a reset, so the durable is made anew."""
    config = ConsumerConfig(
        durable_name=THEIRS,
        filter_subjects=["results.synced", "results.amended"],
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=policy,
        max_deliver=10,
        ack_wait=17,
        metadata={"owner": "somebody"},
    )
    await past.js.add_consumer(topology.EVENTS, config)
    await wire.publish(past.js, *weekend)
    assert await read_all(past) == [2, 3, 4]
    assert await read_all(past) == []
    lines = await replay(past.js, THEIRS, 3)
    assert lines == [f"{THEIRS} begins again at 3; 2 events wait for it"]
    assert await read_all(past) == [3, 4]
    kept = (await past.js.consumer_info(topology.EVENTS, THEIRS)).config
    assert (kept.max_deliver, kept.ack_wait, kept.durable_name) == (10, 17, THEIRS)
    assert set(kept.filter_subjects) == {"results.synced", "results.amended"}
    assert (kept.metadata or {})["owner"] == "somebody"
    assert await past.acts() == ["events.replay"]


async def test_what_the_inbox_knows_has_no_second_effect_unless_it_is_made_to_forget(past: Any, weekend: Any) -> None:
    await past.apply(*weekend[:3])
    everything = await past.value("SELECT count(*) FROM analytics.cars")
    await past.database.execute("DELETE FROM analytics.results")
    async with running(past.analytics()):
        lines = await replay(past.js, OURS, 1)
        assert "dropped by its inbox" in lines[0]
        await past.consumed()
        assert await past.value("SELECT count(*) FROM analytics.cars") == 0
        lines = await replay(past.js, OURS, 3, forget=True, admin_url=past.admin_url)
        assert lines[0].startswith("1 marks removed from the inbox of analytics")

        async def back() -> bool:
            return bool(await past.value("SELECT count(*) FROM analytics.cars") == everything / 2)

        await eventually(back, seconds=20, what="the effect of the second event")
        await past.consumed()
    assert await past.rows("SELECT session FROM analytics.results") == [("race",)]


async def test_what_was_missed_is_made_up_for(past: Any, weekend: Any) -> None:
    """As after a restore of yesterday's database."""
    await past.apply(*weekend)
    marks = "DELETE FROM analytics.inbox WHERE consumer LIKE '%results%'"
    await past.database.execute(f"{marks}; DELETE FROM analytics.results")
    async with running(past.analytics()):
        await replay(past.js, OURS, 1)

        async def back() -> bool:
            return bool(await past.value("SELECT count(*) FROM analytics.results") == 2)

        await eventually(back, seconds=20, what="the results")


async def test_what_cannot_be_replayed_is_refused(past: Any, weekend: Any) -> None:
    with pytest.raises(EventCommandError, match="no durable sub_somebody"):
        await replay(past.js, THEIRS, 1)
    await past.js.add_consumer(topology.EVENTS, ConsumerConfig(durable_name=THEIRS, ack_policy=AckPolicy.EXPLICIT))
    with pytest.raises(EventCommandError, match="nothing to replay"):
        await replay(past.js, THEIRS, 1)
    await wire.publish(past.js, *weekend)
    with pytest.raises(EventCommandError, match="no inbox to forget"):
        await replay(past.js, THEIRS, 1, forget=True, admin_url=past.admin_url)
    assert await past.acts() == []
