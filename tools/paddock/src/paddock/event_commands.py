"""The commands `paddock events tail`, `replay`, `rebuild` and `reconcile`."""

import argparse
import asyncio
from collections.abc import Sequence

import asyncpg
import msgspec
import nats.errors
from sqlalchemy.exc import SQLAlchemyError

from common.log import setup_logging
from common.settings import Settings
from paddock import tail
from paddock.broker import OperatorSettings
from paddock.projections import PROJECTIONS, Projection
from paddock.rebuild import Rebuild
from paddock.reconcile import Reconciliation
from paddock.replay import replay
from paddock.stored import EventCommandError, instant, opened, sequence_at

COMMANDS = ("tail", "replay", "rebuild", "reconcile")
TROUBLE = (EventCommandError, nats.errors.Error, OSError, SQLAlchemyError, asyncpg.PostgresError)
"""What a command reports in one line."""


def run(arguments: Sequence[str]) -> None:
    """Run `paddock events …` and print what it says. Raises one of `TROUBLE`; wrong arguments end the process."""
    chosen = _parser().parse_args(list(arguments))
    told = OperatorSettings.load()
    settings = msgspec.structs.replace(told, log_level="WARNING", nats_creds=told.credentials())
    setup_logging("paddock", settings)
    works = {"tail": _tail, "replay": _replay, "rebuild": _rebuild, "reconcile": _reconcile}
    try:
        asyncio.run(works[chosen.command](chosen, settings))
    except KeyboardInterrupt:
        print()


def say(line: str) -> None:
    """Print a line at once, also into a file or a pipe."""
    print(line, flush=True)


async def _tail(chosen: argparse.Namespace, settings: Settings) -> None:
    subjects = tail.subjects_of(chosen.subjects)
    since = instant(chosen.since) if chosen.since else None
    render = tail.json_line if chosen.json else tail.line
    past = chosen.from_seq is not None or chosen.since or chosen.last
    follow = chosen.follow if chosen.follow is not None else not past
    async with opened(settings) as js:
        start = await tail.start_of(js, subjects, sequence=chosen.from_seq, since=since, last=chosen.last)
        async for message in tail.events(js, subjects, start, follow=follow):
            say(render(message))


async def _replay(chosen: argparse.Namespace, settings: Settings) -> None:
    if chosen.forget and not chosen.yes:
        raise EventCommandError(
            "--forget makes handlers run again and publish again what they published; say --yes if that is meant"
        )
    async with opened(settings) as js:
        if chosen.since:
            start = await sequence_at(js, "EVENTS", instant(chosen.since))
        else:
            start = 1 if chosen.all else chosen.from_seq
        lines = await replay(js, chosen.consumer, start, forget=chosen.forget, admin_url=settings.database_url)
    for line in lines:
        say(line)


async def _rebuild(chosen: argparse.Namespace, settings: Settings) -> None:
    async with opened(settings) as js:
        rebuild = Rebuild(
            chosen.projection,
            settings.database_url,
            js,
            keep_older=chosen.keep_older,
            sure=chosen.yes,
            report=say,
        )
        for line in await rebuild.run(anew=chosen.anew):
            say(line)


async def _reconcile(chosen: argparse.Namespace, settings: Settings) -> None:
    async with opened(settings) as js, Reconciliation(js, settings.database_url, say) as reconciliation:
        for line in await reconciliation.run(dry=chosen.dry_run, sure=chosen.yes):
            say(line)


def _projection(name: str) -> Projection:
    known = {projection.name: projection for projection in PROJECTIONS}
    if name not in known:
        raise argparse.ArgumentTypeError(f"no projection {name}; there are: {', '.join(known)}")
    return known[name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paddock events")
    commands = parser.add_subparsers(dest="command", required=True)

    tailing = commands.add_parser("tail", help="print events as they come, or those of the past")
    tailing.add_argument("--subjects", default=">", help="with commas between them, for example 'race.>,results.>'")
    begin = tailing.add_mutually_exclusive_group()
    begin.add_argument("--from-seq", type=int, help="a place in the stream")
    begin.add_argument("--since", help="an age such as 1h, or RFC 3339")
    begin.add_argument("--last", type=int, help="so many of the newest")
    tailing.add_argument("--json", action="store_true", help="one JSON object per line")
    tailing.add_argument(
        "--follow",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="go on; as it is when no past is asked for",
    )

    replaying = commands.add_parser("replay", help="give a durable consumer its past again")
    replaying.add_argument("--consumer", required=True, help="name of the durable")
    begin = replaying.add_mutually_exclusive_group(required=True)
    begin.add_argument("--from-seq", type=int, help="a place in the stream")
    begin.add_argument("--since", help="an age such as 1h, or RFC 3339")
    begin.add_argument("--all", action="store_true", help="everything the stream has")
    replaying.add_argument("--forget", action="store_true", help="also what the service's inbox knows (DATABASE_URL)")
    replaying.add_argument("--yes", action="store_true", help="handlers may run again")

    rebuilding = commands.add_parser("rebuild", help="compute tables anew from their events (DATABASE_URL)")
    rebuilding.add_argument("projection", type=_projection, help=", ".join(one.name for one in PROJECTIONS))
    rebuilding.add_argument("--anew", action="store_true", help="do not go on with an attempt that was interrupted")
    rebuilding.add_argument("--keep-older", action="store_true", help="keep rows of which the stream knows nothing")
    rebuilding.add_argument("--yes", action="store_true", help="events in no inbox were given up on purpose")

    reconciling = commands.add_parser("reconcile", help="build the stream anew from the outboxes (DATABASE_URL)")
    reconciling.add_argument("--dry-run", action="store_true", help="only say what would be done")
    reconciling.add_argument("--yes", action="store_true", help="give up events that no outbox has")
    return parser
