"""The commands refuse what is dangerous or cannot be, in a line, before anything happens."""

import asyncio
from typing import Any

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from common import topology
from lab import wire
from paddock import event_commands
from paddock.stored import EventCommandError

NOWHERE = "nats://127.0.0.1:1"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server, so that a command that would act fails in another way; and the logging of the tests stays."""
    monkeypatch.setenv("NATS_URL", NOWHERE)
    monkeypatch.setattr(event_commands, "setup_logging", lambda *_: None)


def test_forgetting_needs_a_yes() -> None:
    with pytest.raises(EventCommandError, match="say --yes"):
        event_commands.run(["replay", "--consumer", "x_y_z", "--all", "--forget"])


def test_a_broker_that_does_not_answer_is_said_so() -> None:
    with pytest.raises(EventCommandError, match="check NATS_URL"):
        event_commands.run(["tail", "--last", "1"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["rebuild", "scoring.nothing"],
        ["rebuild"],
        ["replay", "--consumer", "x"],
        ["replay", "--consumer", "x", "--all", "--from-seq", "1"],
        ["tail", "--last", "1", "--since", "1h"],
    ],
)
def test_wrong_arguments_end_the_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        event_commands.run(arguments)
    assert end.value.code == 2
    assert "usage: paddock events" in capsys.readouterr().err


async def test_a_replay_by_command(
    past: Any, weekend: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NATS_URL", past.nats.url)
    config = ConsumerConfig(durable_name="sub_x", ack_policy=AckPolicy.EXPLICIT)
    await past.js.add_consumer(topology.EVENTS, config)
    await wire.publish(past.js, *weekend)
    command = ["replay", "--consumer", "sub_x", "--since", "1h"]
    await asyncio.to_thread(event_commands.run, command)
    assert capsys.readouterr().out == "sub_x begins again at 1; 4 events wait for it\n"
