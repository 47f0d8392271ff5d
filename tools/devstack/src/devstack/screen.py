"""What `make run` shows: progress, one calm screen, then a line for each thing that happens."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Mapping
from uuid import UUID

from rich.console import Console

from common import clock
from devstack import feed
from devstack.plan import MAILBOX
from devstack.stack import Stack
from devstack.story import TOLD, Story

READY_SECONDS = 10.0
CALENDAR_SECONDS = 5.0
"""How long the screen waits for the calendar, which a live source may take its time to tell."""
LABEL_WIDTH = 15


class _Console(Console):
    """Goes quiet when nobody reads it any more: what runs must still be watched over and ended in order."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())  # takes what the file still holds back
        os.close(nowhere)


class Screen:
    """Writes for people: in colour on a terminal, plain elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._status = self._console.status("") if self._console.is_terminal else None
        self._story = Story()
        self._following = threading.Event()
        self._calendar = threading.Event()
        self._welcomed = threading.Event()

    def _print(self, text: str = "") -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            self._console.print(text)

    def step(self, text: str) -> None:
        """What the start is busy with."""
        if self._status is None:
            self._print(f"{text} …")
        else:
            self._status.update(f"{text} …")
            self._status.start()

    def calm(self) -> None:
        """Nothing is under way any more."""
        if self._status is not None:
            self._status.stop()

    def incident(self, line: str) -> None:
        """Something went wrong and is being mended."""
        self._print(f"{_clock()}  [yellow]{_plain(line)}[/yellow]")

    def line(self, line: str) -> None:
        """Something happened."""
        self._print(f"{_clock()}  {_plain(line)}")

    def follow(self, nats_url: str, credentials: str | None) -> None:
        """Learn the season and tell events from now on, in a thread that ends with the process."""
        threading.Thread(target=self._follow, args=(nats_url, credentials), name="devstack-feed", daemon=True).start()
        self._following.wait(READY_SECONDS)
        self._calendar.wait(CALENDAR_SECONDS)

    def _follow(self, nats_url: str, credentials: str | None) -> None:
        async def tell() -> None:
            following = feed.follow(nats_url, TOLD, self._following.set, credentials)
            async with contextlib.aclosing(following) as events:
                async for event in events:
                    line = self._story.tell(event, clock.now())
                    if self._story.known:
                        self._calendar.set()
                    if line:
                        self._welcomed.wait()
                        self.line(line)

        asyncio.run(tell())

    def welcome(self, stack: Stack, leagues: Mapping[UUID, str], credentials: str | None) -> None:
        """The one screen: addresses, credentials, what comes next."""
        self.calm()
        self._story.leagues = leagues
        gateway = stack.gateway_url
        rows = {
            "API": f"{gateway}/api/v1",
            "API docs": f"{gateway}/docs",
            "Mailbox": stack.urls.get(MAILBOX),
            "Demo account": credentials,
            "Demo league": ", ".join(leagues.values()),
            "Season": _season(stack, simulated=self._story.simulated),
            "Next session": self._next_session(),
            "Services": "  ".join(f"{name} {url.rpartition('/')[2]}" for name, url in stack.urls.items()),
            "PostgreSQL": _without_password(stack.database_url),
            "NATS": stack.nats_url,
            "Redis": stack.redis_url,
            "Logs": str(stack.state.logs),
        }
        self._print("\n[bold green]Paddock is up.[/bold green] Ctrl-C stops it and keeps the data.\n")
        for name, value in rows.items():
            if value:
                self._print(f"  [bold]{name:<{LABEL_WIDTH}}[/bold]{_plain(value)}")
        self._print()
        self._welcomed.set()

    def _next_session(self) -> str:
        if not self._story.known:
            return "not known yet; the calendar has not been read"
        return self._story.next_session(clock.now()) or "none; the season is over (`make clean` begins anew)"


def _season(stack: Stack, *, simulated: bool) -> str:
    season = stack.season
    if season.source == "live":
        return f"{season.year}, live from Jolpica"
    kind = f"recorded in {season.recorded}" if season.source == "recorded" else f"SIMULATED from seed {season.seed}"
    note = "; every result is invented" if simulated or season.source == "sim" else ""
    return f"{season.year}, {kind}, a weekend every {season.pace:g} s{note}"


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    scheme, _, user = head.partition("://")
    return f"{scheme}://{user.partition(':')[0]}{at}{tail}" if at else url


def _plain(text: str) -> str:
    """Keep square brackets from being read as colours."""
    return text.replace("[", "\\[")


def _clock() -> str:
    return clock.now().astimezone().strftime("%H:%M:%S")
