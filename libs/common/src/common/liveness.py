"""A process whose event loop is stuck ends by itself, its stacks in the log, so that whoever runs it starts it anew.

A thread asks the loop once a second for a sign of life. It counts its own ticks and not the time, so a process that was
stopped or a machine that slept is not taken for stuck. A call that keeps the whole interpreter to itself stops that
thread too; then ``/health/live`` does not answer either, and its prober acts.
"""

import asyncio
import faulthandler
import os
import threading
import time
from collections import deque

from common import telemetry
from common.log import get_logger

log = get_logger(__name__)

TICK_SECONDS = 1.0
MISSED_TICKS = 14
"""With the tick in which it got stuck, the loop has 15 s."""
LAGS = 30
"""The gauge tells the worst of so many ticks, so that a scrape every half minute misses none."""
LAST_WORDS_SECONDS = 2.0
EXIT_CODE = 70


class Watchdog:
    """Watches one event loop from a thread of its own, until the loop is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answered = True
        self._lags: deque[float] = deque([0.0], maxlen=LAGS)
        telemetry.LOOP_LAG.set_function(lambda: max(self._lags))
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def _run(self) -> None:
        missed = 0
        while missed < MISSED_TICKS:
            if self._answered:
                missed, self._answered = 0, False
                try:
                    self._loop.call_soon_threadsafe(self._answer, time.monotonic())
                except RuntimeError:  # the loop is closed
                    return
            time.sleep(TICK_SECONDS)
            missed += not self._answered
        end_process(missed * TICK_SECONDS)

    def _answer(self, asked_at: float) -> None:
        self._lags.append(time.monotonic() - asked_at)
        self._answered = True


def end_process(seconds: float) -> None:
    """Tell where every thread stands, and end; even when what the loop is stuck in is the writing of a log."""
    threading.Timer(LAST_WORDS_SECONDS, os._exit, (EXIT_CODE,)).start()
    faulthandler.dump_traceback(all_threads=True)
    log.critical("event loop stuck", seconds=seconds)
    os._exit(EXIT_CODE)
