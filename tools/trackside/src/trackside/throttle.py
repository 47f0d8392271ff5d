"""A limit on requests as Jolpica has one: so many in any second, whoever asks."""

from collections import deque
from datetime import datetime, timedelta

WINDOW = timedelta(seconds=1)


class Throttle:
    """Lets `per_second` requests through in any one second; `None` lets all through."""

    def __init__(self, per_second: int | None) -> None:
        self.per_second = per_second
        self._served: deque[datetime] = deque()

    def admits(self, now: datetime) -> bool:
        """Whether a request may be served now; a refused one does not count."""
        if self.per_second is None:
            return True
        while self._served and self._served[0] <= now - WINDOW:
            self._served.popleft()
        if len(self._served) >= self.per_second:
            return False
        self._served.append(now)
        return True
