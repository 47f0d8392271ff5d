"""`devstack run` and `devstack clean`: the commands behind `make run` and `make clean`."""

import argparse
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from devstack import run, seed
from devstack.errors import DevstackError
from devstack.screen import Screen
from devstack.stack import Stack
from devstack.state import State
from devstack.watch import clean_up

DEFAULT_PORT = 8000
STATE = Path(".paddock")
DEFAULT_TEAMS = 200


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devstack", description="Run all of Paddock on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("clean", help="forget everything; refused while it runs")
    command = commands.add_parser("run", help="start, watch, stop")

    def option(flag: str, variable: str, kind: Callable[[str], Any], text: str, **more: Any) -> None:  # noqa: ANN401
        given = os.environ.get(variable) or None
        command.add_argument(flag, type=kind, default=given, help=f"{text} (or {variable})", **more)

    option("--port", "PORT", int, f"port of the gateway, by default {DEFAULT_PORT}")
    option("--source", "SOURCE", str, "where races come from, by default sim", choices=("sim", "live", "recorded"))
    option("--state", "PADDOCK_STATE", Path, "state directory, by default .paddock")
    option("--pace", "PACE", float, "seconds per race weekend, by default 120")
    option("--seed", "SEED", int, "decides a simulated season, by default 24")
    option("--recorded", "RECORDED", Path, "folder of recorded bodies")
    option("--season", "SEASON", int, "year of the season")
    option("--rounds", "ROUNDS", str, "the only rounds to run, as 1-3")
    option("--teams", "TEAMS", int, f"demo teams, by default {DEFAULT_TEAMS}; 0 seeds nothing")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until a signal; exit with 1 and one line when something cannot run."""
    options = _parser().parse_args(arguments)
    screen = Screen()
    try:
        failure = (_clean if options.command == "clean" else partial(_run, options, screen))()
    except DevstackError as error:
        failure = str(error)
    screen.calm()
    if failure:
        sys.exit(f"paddock: {failure}")


def _clean() -> str | None:
    """Remove the state directory, and what an earlier run may have left running in it."""
    path = Path(os.environ.get("PADDOCK_STATE") or STATE)
    if path.exists():
        state = State(path)
        state.take(None)
        try:
            list(clean_up(state.pid_file))
            shutil.rmtree(path)
        finally:
            state.release()
    return None


def _run(options: argparse.Namespace, screen: Screen) -> str | None:
    stack = Stack(
        options.state or STATE,
        source=options.source,
        pace=options.pace,
        seed=options.seed,
        recorded=options.recorded,
        season=options.season,
        rounds=options.rounds,
        port=options.port or DEFAULT_PORT,
        environ=os.environ,
        report=screen.incident,
        step=screen.step,
    )
    teams = DEFAULT_TEAMS if options.teams is None else options.teams

    def on_ready(ending: threading.Event) -> None:
        screen.step("opening the demo league")
        demo = _open_demo(stack, teams, ending, screen)
        credentials = stack.nats_creds()
        screen.follow(stack.nats_url, Path(credentials).read_text(encoding="utf-8") if credentials else None)
        screen.welcome(stack, {demo.league_id: seed.LEAGUE} if demo else {}, demo.credentials if demo else None)

    return run.run(stack, on_ready=on_ready)


def _open_demo(stack: Stack, teams: int, ending: threading.Event, screen: Screen) -> seed.Demo | None:
    """Enter the demo user now and everybody else meanwhile; what goes wrong there is told and stops nothing."""
    if not teams:
        return None
    seeder = seed.Seeder(stack.urls, stack.state.secret("demo"), ending)
    try:
        demo = seeder.open()
    except DevstackError as error:
        screen.incident(str(error))
        return None
    if demo is None and not ending.is_set():
        screen.incident("no demo league yet: the season is not known; it is made at the next start")
    if demo is None:
        return None

    def fill() -> None:
        try:
            if players := seeder.fill(demo, teams):
                screen.line(f"{teams} demo teams have entered; {players + 1} players are in {seed.LEAGUE}")
        except DevstackError as error:
            if not ending.is_set():
                screen.incident(str(error))
        finally:
            seeder.close()

    threading.Thread(target=fill, name="devstack-seed").start()
    return demo


if __name__ == "__main__":
    main()
