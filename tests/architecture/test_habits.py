"""House rules that no linter knows: the clock, acknowledgement policies, clean texts. Each shows that it can fail."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OWN_CLOCKS = {
    "libs/common/src/common/clock.py",
    "tools/mailbox/src/paddock_mailbox/clock.py",
    "tools/trackside/src/trackside/clock.py",
}


def sources() -> list[Path]:
    found = [
        path for folder in ("libs", "services", "gateway", "tools") for path in ROOT.glob(f"{folder}/**/src/**/*.py")
    ]
    assert len(found) > 50, "the sources were not found"
    return found


def clock_calls(source: str) -> list[int]:
    """Find calls of `datetime.now`, `utcnow`, `today` and `time.time`."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if (owner.split(".")[-1], node.func.attr) in {
                ("datetime", "now"),
                ("datetime", "utcnow"),
                ("datetime", "today"),
                ("date", "today"),
                ("time", "time"),
            }:
                lines.append(node.lineno)
    return lines


def subscribers_without_policy(source: str) -> list[int]:
    """Find FastStream subscribers that keep the default policy, which loses events."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "subscriber"
        and "ack_policy" not in {keyword.arg for keyword in node.keywords}
    ]


def test_the_wall_clock_is_read_in_one_place() -> None:
    offenders = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if str(path.relative_to(ROOT)) not in OWN_CLOCKS and (lines := clock_calls(path.read_text()))
    }
    assert offenders == {}


def test_every_subscriber_says_how_it_acknowledges() -> None:
    offenders = {str(path): lines for path in sources() if (lines := subscribers_without_policy(path.read_text()))}
    assert offenders == {}


PUBLISHERS = {
    "libs/common/src/common/relay.py",
    "libs/common/src/common/letters.py",
    "tools/paddock/src/paddock/audit.py",
    "tools/paddock/src/paddock/dead_letters.py",
    "tools/paddock/src/paddock/reconcile.py",
}
"""Events leave by the relay alone; besides, there are letters, their way back, the audit, and a stream made anew."""


def test_nobody_else_publishes() -> None:
    calls = ("js.publish(", "publish_async(", "broker.publish(")
    found = {str(path.relative_to(ROOT)) for path in sources() if any(call in path.read_text() for call in calls)}
    assert found == PUBLISHERS


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("from datetime import datetime\nx = datetime.now()", [2]),
        ("import datetime\nx = datetime.datetime.utcnow()", [2]),
        ("import time\nx = time.time()", [2]),
        ("import time\nx = time.monotonic()", []),
    ],
)
def test_the_clock_rule_can_fail(source: str, lines: list[int]) -> None:
    assert clock_calls(source) == lines


def test_the_subscriber_rule_can_fail() -> None:
    assert subscribers_without_policy("broker.subscriber('race.scored')") == [1]
    assert subscribers_without_policy("broker.subscriber('race.scored', ack_policy=MANUAL)") == []
