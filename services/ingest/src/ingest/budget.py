"""How often the upstream may be asked: so many requests in any second, and so many in any hour.

The windows slide, so the limits hold wherever the upstream puts its own. Counted within one process: only the replica
that holds the poller's lock asks at all.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

SECOND = 1.05
HOUR = 3603.0
"""Windows in seconds, a little longer than they are called: requests arrive less evenly than they leave."""
PATIENCE_SECONDS = 30.0


class BudgetSpentError(Exception):
    """The hour's requests are used up; the message says for how long."""


def pause(taken: Sequence[float], now: float, per_second: int, per_hour: int) -> float:
    """Tell how many seconds to wait before one more request. ``taken`` are the instants of earlier ones, in order."""
    waits = [0.0]
    for limit, window in ((per_second, SECOND), (per_hour, HOUR)):
        if len(taken) >= limit:
            waits.append(taken[-limit] + window - now)
    return max(waits)


class Budget:
    """Hands out requests one at a time."""

    def __init__(self, per_second: int, per_hour: int) -> None:
        self._per_second = per_second
        self._per_hour = per_hour
        self._taken: deque[float] = deque(maxlen=max(per_second, per_hour))
        self._turn = asyncio.Lock()

    async def take(self) -> None:
        """Wait until one more request is allowed.

        Raises:
            BudgetSpentError: that would take longer than a run should wait.
        """
        clock = asyncio.get_running_loop().time
        async with self._turn:
            while (seconds := pause(self._taken, clock(), self._per_second, self._per_hour)) > 0:
                if seconds > PATIENCE_SECONDS:
                    raise BudgetSpentError(f"no more requests to the upstream for {seconds:.0f} s")
                await asyncio.sleep(seconds)
            self._taken.append(clock())
