"""The command line: `python -m trackside`."""

import argparse
import contextlib
import logging
import socket
import sys
from pathlib import Path

import uvicorn

from trackside.app import create_app
from trackside.clock import utc_now
from trackside.config import DEFAULT_SEED, Config, ConfigError
from trackside.server import Server
from trackside.timetable import parse_start

log = logging.getLogger("trackside")

EXAMPLES = """\
examples:
  trackside                                    the generated season 2026, complete, at its real dates
  trackside --start now+30s --pace 300         one race weekend every five minutes, the first in 30 seconds
  trackside --recorded data/jolpica --season 2024 --rounds 1-3 --start now --pace 20
"""


def _rounds(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    try:
        return int(first), int(last or first)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a round or a range like 1-3") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trackside",
        description="Answers as the Jolpica F1 API does, for a season that is generated from a seed or recorded.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8099, help="port to listen on, 0 for any free one (%(default)s)")
    parser.add_argument("--season", type=int, default=2026, help="the year to serve (%(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="seed of the generated results (%(default)s)")
    parser.add_argument(
        "--recorded", type=Path, metavar="DIR", help="serve recorded bodies: DIR/{season}/races.json and so on"
    )
    parser.add_argument("--rounds", type=_rounds, metavar="A-B", help="serve only these rounds")
    parser.add_argument(
        "--pace",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="seconds per race weekend; 0 serves everything at once, at its own dates (%(default)s)",
    )
    parser.add_argument(
        "--start",
        metavar="WHEN",
        help="when the first weekend begins: ISO 8601 (UTC), now, now+10s, now-2h; "
        "by default what --state remembers, else now",
    )
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep start and amendments here over a restart")
    parser.add_argument("--throttle", type=int, metavar="N", help="answer 429 above N requests a second (never)")
    return parser


def describe(server: Server) -> str:
    """One line on what is served, and from when."""
    season, timetable = server.source, server.timetable
    what = f"season {season.year} ({server.label}), rounds {season.weekends[0].round}-{season.weekends[-1].round}"
    if timetable is None:
        return f"{what}, complete, at its own dates"
    return f"{what}, a weekend every {timetable.pace:g} s from {timetable.start:%Y-%m-%dT%H:%M:%SZ}"


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop. Answers 2 when the season cannot be served as asked."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    try:
        config = Config(
            season=arguments.season,
            seed=arguments.seed,
            start=parse_start(arguments.start, utc_now()) if arguments.start else None,
            pace=arguments.pace,
            recorded=arguments.recorded,
            rounds=arguments.rounds,
            state=arguments.state,
            throttle=arguments.throttle,
        )
        app = create_app(config)
    except (ConfigError, ValueError) as error:
        print(f"trackside: {error}", file=sys.stderr)
        return 2
    try:
        listener = socket.create_server((arguments.host, arguments.port))
    except OSError as error:
        print(f"trackside: cannot listen on {arguments.host}:{arguments.port}: {error.strerror}", file=sys.stderr)
        return 2
    host, port = listener.getsockname()[:2]
    log.info("%s, on http://%s:%d/ergast/f1/", describe(app.state.server), host, port)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn repeats Ctrl-C after it has stopped in order
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
