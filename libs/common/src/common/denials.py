"""Sessions that ended before their time: their access tokens, which would still be good, are refused everywhere.

Each process follows ``session.revoked`` into a list of its own, so a refusal costs a look into a dictionary and comes
milliseconds after the fact. A process that has just begun replays as far back as a token can live, and keeps
whoever calls waiting for that a moment. With NATS away it goes on with what it knows and lets other tokens pass:
nobody could play otherwise, and a token lives minutes.
"""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from time import monotonic
from uuid import UUID

import msgspec
from nats.aio.msg import Msg
from prometheus_client import Counter, Gauge

from common import clock
from common.contracts import decode
from common.contracts.auth import SessionRevoked
from common.following import Follower
from common.log import get_logger
from common.settings import Settings

log = get_logger(__name__)

PURPOSE = "denials"
LONGEST_TOKEN_SECONDS = 3600
"""No access token lives longer: one that would is not believed, for its end would be forgotten before it."""
KEPT_SECONDS = LONGEST_TOKEN_SECONDS + 60
SKEW_SECONDS = 2
"""How far apart the clocks of two replicas of `auth` may be, one of which ends a session that the other refreshes."""
DENIALS = 100_000
START_SECONDS = 2.0
"""How long after the start of a process its callers wait for the replay; then they are let pass."""

FOLLOWING = Gauge("denials_following", "1 while a process hears of sessions that end")
HELD = Gauge("denials_held", "Ended sessions whose tokens are refused")
DROPPED = Counter("denials_dropped_total", "Ended sessions that were forgotten too early, because there were too many")


class Denials:
    """The list of one process, and how it is kept up."""

    def __init__(self, settings: Settings, user: str) -> None:
        """Make an empty list; ``user`` is the process's NATS user."""
        self._revoked: OrderedDict[UUID, float] = OrderedDict()
        """Session to when it ended, in seconds of the epoch; in the order in which it was heard of."""
        self._wait_until = float("-inf")
        self.follower = Follower(
            settings,
            user,
            PURPOSE,
            subjects=[SessionRevoked.subject],
            past_seconds=KEPT_SECONDS,
            take=self._take,
        )
        FOLLOWING.set_function(lambda: float(self.follower.connected))
        HELD.set_function(lambda: len(self._revoked))

    async def run(self, _: object = None) -> None:
        """Follow until cancelled."""
        self._wait_until = monotonic() + START_SECONDS
        await self.follower.run()

    def denies(self, session_id: UUID, issued_at: float) -> bool:
        """Tell whether a token of this session, issued at that second of the epoch, is to be refused."""
        revoked_at = self._revoked.get(session_id)
        return revoked_at is not None and issued_at <= revoked_at + SKEW_SECONDS

    async def known(self) -> None:
        """Wait until the past has been replayed, or has taken too long."""
        left = self._wait_until - monotonic()
        if left > 0 and not self.follower.caught_up.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.follower.caught_up.wait(), left)

    def add(self, session_id: UUID, revoked_at: float) -> None:
        """Refuse a session's tokens, and forget those whose tokens have all expired."""
        self._revoked[session_id] = max(revoked_at, self._revoked.pop(session_id, revoked_at))
        over = clock.now().timestamp() - KEPT_SECONDS
        while self._revoked:
            oldest, ended_at = next(iter(self._revoked.items()))
            if ended_at >= over:
                break
            del self._revoked[oldest]
        while len(self._revoked) > DENIALS:
            self._revoked.popitem(last=False)
            DROPPED.inc()

    def _take(self, message: Msg) -> None:
        try:
            event = decode(SessionRevoked, message.data)
        except (msgspec.MsgspecError, ValueError) as error:
            log.error("ended sessions not readable", sequence=message.metadata.sequence.stream, error=repr(error))  # noqa: TRY400 - the trace says no more
            return
        for session_id in event.session_ids:
            self.add(session_id, event.revoked_at.timestamp())
