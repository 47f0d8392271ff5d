import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from rich.console import Console

from devstack.plan import Addresses, Plan
from devstack.program import Child
from devstack.screen import Screen, _Console
from devstack.season import Season
from devstack.stack import Stack

SERVERS = {
    "DATABASE_URL": "postgresql://root:hunter2@db.example:5432/paddock",
    "NATS_URL": "nats://127.0.0.1:1",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


def standins(addresses: Addresses, _: Season, env: Mapping[str, str]) -> Plan:
    del env
    script = str(Path(__file__).with_name("standin.py"))
    argv = (sys.executable, script, "gateway", str(addresses.ports["gateway"]), "/nonexistent")
    return Plan(early=(), prepare=None, tiers=((Child(name="gateway", argv=argv, url=addresses.url("gateway")),),))


def test_the_screen_says_where_everything_is_and_that_results_are_invented(tmp_path: Path) -> None:
    output = io.StringIO()
    screen = Screen(Console(file=output, highlight=False, soft_wrap=True))
    with Stack(tmp_path, environ=SERVERS, preload=False, planner=standins, seed=7, pace=90) as stack:
        screen.welcome(stack, {UUID(int=1): "Paddock Open"}, "demo / Lights-Out-24")
        address = stack.gateway_url
    shown = output.getvalue()
    for line in (
        f"{address}/docs",
        "demo / Lights-Out-24",
        "Paddock Open",
        "2026, SIMULATED from seed 7, a weekend every 90 s; every result is invented",
        "postgresql://root@db.example:5432/paddock",
        str(tmp_path / "log"),
    ):
        assert line in shown
    assert "hunter2" not in shown
    assert "\x1b" not in shown


def test_square_brackets_in_a_line_are_shown_as_they_are() -> None:
    output = io.StringIO()
    screen = Screen(Console(file=output, highlight=False, soft_wrap=True))
    screen.incident("nats died: [FTL] [red]no space[/red]")
    assert "nats died: [FTL] [red]no space[/red]" in output.getvalue()


def test_a_screen_that_nobody_reads_any_more_goes_quiet_and_stops_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as file:  # noqa: PTH123 - a descriptor
        screen = Screen(_Console(file=file, force_terminal=False))
        screen.line("lights out")
        screen.line("and away we go")


def test_a_step_is_one_plain_line_where_there_is_no_terminal() -> None:
    output = io.StringIO()
    Screen(Console(file=output)).step("migrating")
    assert output.getvalue() == "migrating …\n"
