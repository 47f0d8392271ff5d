"""The commands by which an operator looks after the streams: `paddock topology`, `dlq`, `audit`."""

import argparse
from collections.abc import Sequence

import msgspec

from paddock import audit, dead_letter_command, migration, streams
from paddock.broker import connected
from paddock.dead_letters import LetterError

MOST_ACTS = 10_000


class OperatingError(Exception):
    """A command could not do what it was asked; the message says why and what to do."""


async def run(command: str, arguments: Sequence[str]) -> list[str]:
    """Run a command; return the lines to print. Wrong arguments end the process, with how they are meant."""
    try:
        match command:
            case "dlq":
                return await dead_letter_command.run(arguments)
            case "audit":
                return await _audit(arguments)
            case _:
                return await _topology(arguments)
    except LetterError as error:
        raise OperatingError(str(error)) from error


async def _topology(arguments: Sequence[str]) -> list[str]:
    parser = argparse.ArgumentParser(prog="paddock topology")
    acts = parser.add_subparsers(dest="act", required=True)
    acts.add_parser("apply", help="create or update streams and durables, but for what is the operator's to choose")
    acts.add_parser("check", help="say what differs from the code; code 1 when something does")
    acts.add_parser("render", help="print streams and durables as resources of NACK")
    match parser.parse_args(list(arguments)).act:
        case "apply":
            return await migration.apply_topology()
        case "render":
            return [streams.rendered().rstrip()]
    async with connected() as client:
        found = await streams.differences(client.jetstream())
    if found:
        raise OperatingError("\n".join(found))
    return ["streams and consumers are as the code has them"]


async def _audit(arguments: Sequence[str]) -> list[str]:
    parser = argparse.ArgumentParser(prog="paddock audit")
    acts = parser.add_subparsers(dest="act", required=True)
    listed = acts.add_parser("list", help="what operators did, oldest first")
    listed.add_argument("--last", type=int, default=100, help=f"so many, by default 100, at most {MOST_ACTS}")
    listed.add_argument("--json", action="store_true")
    chosen = parser.parse_args(list(arguments))
    last = min(max(chosen.last, 1), MOST_ACTS)
    async with connected() as client:
        acts_done = await audit.read(client.jetstream(), last)
    if chosen.json:
        return [msgspec.json.encode(acts_done).decode()]
    return [
        f"{act.at:%Y-%m-%d %H:%M:%S}  {act.actor}  {act.action}  "
        + " ".join(f"{name}={value}" for name, value in act.facts.items())
        for act in acts_done
    ] or ["nothing was done yet"]
