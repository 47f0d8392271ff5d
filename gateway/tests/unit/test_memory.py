"""What a listener that comes back gets, and when it is told that something is gone."""

from uuid import UUID, uuid4

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.memory import LEAGUE_EVENTS, LEAGUES, TOPIC_EVENTS, Memory, Moment, league_channel, read


def moment(sequence: int, channel: str = "race.scored") -> Moment:
    return Moment(sequence, channel, b"")


def sequences(moments: list[Moment]) -> list[int]:
    return [one.sequence for one in moments]


def test_a_listener_gets_what_it_missed_of_its_channels_in_order() -> None:
    memory = Memory(0)
    for sequence, channel in enumerate(["race.scored", "race.finished", "race.scored", "results.synced"], start=1):
        memory.add(moment(sequence, channel))
    assert sequences(memory.since(["race.scored", "results.synced"], 1)) == [3, 4]
    assert memory.complete(["race.scored", "results.synced"], 1)


def test_memory_is_bounded_and_knows_what_it_lost() -> None:
    memory = Memory(0)
    for sequence in range(1, TOPIC_EVENTS + 4):
        memory.add(moment(sequence))
    assert len(memory.since(["race.scored"], 0)) == TOPIC_EVENTS
    assert not memory.complete(["race.scored"], 2)
    assert memory.complete(["race.scored"], 3)
    assert memory.complete(["race.finished"], 0)


def test_what_happened_before_the_gateway_began_to_listen_is_a_gap() -> None:
    memory = Memory(100)
    assert not memory.complete(["race.scored"], 99)
    assert memory.complete(["race.scored"], 100)


def test_many_leagues_push_out_old_leagues_and_never_a_topic() -> None:
    memory = Memory(0)
    memory.add(moment(1))
    channels = [league_channel(uuid4()) for _ in range(LEAGUES + 1)]
    for sequence, channel in enumerate(channels, start=2):
        memory.add(moment(sequence, channel))
    assert sequences(memory.since(["race.scored"], 0)) == [1]
    assert memory.since([channels[0]], 0) == []
    assert not memory.complete([channels[0]], 1)
    assert memory.complete([channels[-1]], 0) is True


@given(st.lists(st.sampled_from(["race.scored", "race.finished", "leaderboard.updated/x"]), max_size=40), st.data())
def test_a_complete_answer_is_exactly_what_was_missed(channels: list[str], data: st.DataObject) -> None:
    memory = Memory(0)
    for sequence, channel in enumerate(channels, start=1):
        memory.add(moment(sequence, channel))
    after = data.draw(st.integers(0, len(channels)))
    wanted = data.draw(st.sets(st.sampled_from(["race.scored", "race.finished", "leaderboard.updated/x"])))
    missed = [at for at, channel in enumerate(channels, start=1) if at > after and channel in wanted]
    got = sequences(memory.since(wanted, after))
    if memory.complete(wanted, after):
        assert got == missed
    else:
        assert set(got) < set(missed)
        assert len([at for at in missed if channels[at - 1] == "leaderboard.updated/x"]) > LEAGUE_EVENTS


def test_a_leagues_leaderboard_is_a_channel_of_its_own() -> None:
    league = UUID("7b0c6a52-30a5-4a0e-9f0b-0d6f5b0f8f11")
    own = read(7, "leaderboard.updated", msgspec.json.encode({"league_id": league, "season": 2026}))
    world = read(8, "leaderboard.updated", b'{"league_id":null}')
    assert own.channel == league_channel(league) != world.channel == "leaderboard.updated"


def test_a_frame_cannot_be_broken_by_its_body() -> None:
    frame = read(9, "race.finished", b'{"a":\n1,\r\n"b":2}').frame
    assert frame == b'id: 9\nevent: race.finished\ndata: {"a": 1, "b":2}\n\n'
