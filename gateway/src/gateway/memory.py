"""What the live feed remembers: the latest events of each channel, ready to be sent."""

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable
from uuid import UUID

import msgspec

from common.contracts.ingest import RaceFinished, ResultsAmended, ResultsSynced, SessionStarted
from common.contracts.leagues import LineupsLocked
from common.contracts.scoring import LeaderboardUpdated, RaceScored

TOPICS = tuple(
    sorted(
        event.subject
        for event in (
            *(RaceScored, LeaderboardUpdated, LineupsLocked, RaceFinished),
            *(SessionStarted, ResultsSynced, ResultsAmended),
        )
    )
)
"""What may be listened to. All of it is public but the leaderboards of leagues, which are channels of their own."""

TOPIC_EVENTS = 256
LEAGUE_EVENTS = 8
LEAGUES = 10_000


class Moment(msgspec.Struct, frozen=True):
    """One event, ready to be sent."""

    sequence: int
    channel: str
    frame: bytes


class _League(msgspec.Struct):
    league_id: UUID | None = None


def league_channel(league_id: UUID) -> str:
    """Name the channel of a league's leaderboard."""
    return f"{LeaderboardUpdated.subject}/{league_id}"


def read(sequence: int, subject: str, body: bytes) -> Moment:
    """Turn a message into a frame of `text/event-stream`."""
    channel = subject
    if subject == LeaderboardUpdated.subject and (league := msgspec.json.decode(body, type=_League).league_id):
        channel = league_channel(league)
    data = b" ".join(body.splitlines())
    return Moment(sequence, channel, b"id: %d\nevent: %s\ndata: %s\n\n" % (sequence, subject.encode(), data))


class Memory:
    """The latest events of each channel, within bounds, and from where on each is complete."""

    def __init__(self, complete_after: int) -> None:
        self._complete_after = complete_after
        self._topics: dict[str, deque[Moment]] = {}
        self._leagues: OrderedDict[str, deque[Moment]] = OrderedDict()
        self._dropped: dict[str, int] = {}
        self._forgotten_leagues = complete_after

    def add(self, moment: Moment) -> None:
        """Keep an event in place of the channel's oldest."""
        if "/" in moment.channel:
            kept = self._leagues.setdefault(moment.channel, deque())
            self._leagues.move_to_end(moment.channel)
            if len(self._leagues) > LEAGUES:
                channel, forgotten = self._leagues.popitem(last=False)
                self._forgotten_leagues = max(self._forgotten_leagues, forgotten[-1].sequence)
                self._dropped.pop(channel, None)
            limit = LEAGUE_EVENTS
        else:
            kept = self._topics.setdefault(moment.channel, deque())
            limit = TOPIC_EVENTS
        kept.append(moment)
        if len(kept) > limit:
            self._dropped[moment.channel] = kept.popleft().sequence

    def since(self, channels: Iterable[str], after: int) -> list[Moment]:
        """Return what is kept of the channels after a sequence, in order."""
        kept = [self._topics.get(channel) or self._leagues.get(channel) or () for channel in channels]
        return [moment for moment in heapq.merge(*kept, key=lambda one: one.sequence) if moment.sequence > after]

    def complete(self, channels: Iterable[str], after: int) -> bool:
        """Tell whether nothing of the channels after a sequence has been dropped."""
        return all(after >= self._begins(channel) for channel in channels)

    def _begins(self, channel: str) -> int:
        unknown_league = "/" in channel and channel not in self._leagues
        floor = self._forgotten_leagues if unknown_league else self._complete_after
        return max(floor, self._dropped.get(channel, 0))
