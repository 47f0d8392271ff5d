"""The rules of deliveries, as values and pure functions: what is offered, when to try again, when to give up."""

from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from common import clock

URL_LENGTH = 2048
DESCRIPTION_LENGTH = 200

PAUSES_SECONDS = (5, 30, 120, 900, 3600, 21_600, 43_200, 86_400)
"""Between the first attempt and the second, and so on; after the ninth a delivery has failed."""
JITTER = 0.2
"""A pause is longer or shorter by up to this share, so that a receiver that comes back is not met by all at once."""
RETRY_AFTER_SECONDS = 86_400.0
"""The most that a receiver's ``Retry-After`` is heeded."""
GONE = 410
TEST_SUBJECT = "webhook.test"


class Subject(StrEnum):
    """What may be subscribed to: the events that are about the sport and the game as a whole, and about no person.

    `leaderboard.updated` names teams. Without a league it is the global leaderboard, which everybody may read; with
    one it is that league's, for whom `scoring` would show it.
    """

    SEASON_SYNCED = "season.synced"
    SESSION_STARTED = "session.started"
    RACE_FINISHED = "race.finished"
    RESULTS_SYNCED = "results.synced"
    RESULTS_AMENDED = "results.amended"
    LINEUPS_LOCKED = "lineups.locked"
    RACE_SCORED = "race.scored"
    LEADERBOARD_UPDATED = "leaderboard.updated"
    PRICES_CHANGED = "prices.changed"


class Format(StrEnum):
    """What the body of a delivery looks like."""

    CLOUDEVENTS = "cloudevents"
    DISCORD = "discord"
    SLACK = "slack"


class DisabledReason(StrEnum):
    """Why an endpoint gets nothing: its owner said so or is gone, it answered 410, or it failed for too long."""

    OWNER = "owner"
    GONE = "gone"
    FAILING = "failing"
    DEACTIVATED = "deactivated"


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Failure(StrEnum):
    """Why an attempt failed."""

    STATUS = "status"
    """The answer was not 2xx; a redirect is not followed."""
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TLS = "tls"
    PROTOCOL = "protocol"
    """The answer was not HTTP."""
    ADDRESS = "address"
    """The name does not resolve, or not to addresses that may be sent to."""
    ENDPOINT_DISABLED = "endpoint_disabled"
    """Nothing was sent: when the delivery's time came its endpoint was disabled."""
    INTERNAL = "internal"
    """A fault of ours."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt ended."""

    status_code: int | None
    duration_ms: int
    error: Failure | None
    retry_after: float | None = None
    """Seconds that the receiver asked for."""

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it."""
        return self.error is None


def next_pause(tries: int, attempt: Attempt, jitter: float, factor: float) -> float | None:
    """Tell how many seconds after the failed attempt number ``tries`` the next one comes; None when there is none.

    ``jitter`` is a random number from -1 to 1.
    """
    if attempt.status_code == GONE or attempt.error is Failure.ENDPOINT_DISABLED or tries > len(PAUSES_SECONDS):
        return None
    pause = PAUSES_SECONDS[tries - 1] * (1 + JITTER * jitter) * factor
    return max(pause, min(attempt.retry_after or 0.0, RETRY_AFTER_SECONDS))


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How much failing an endpoint may do before it is disabled: both must be reached."""

    failures: Annotated[int, msgspec.Meta(ge=1)]
    seconds: float

    def verdict(self, attempt: Attempt, failures: int, failing_seconds: float) -> DisabledReason | None:
        """Tell why an endpoint is to be disabled after a failed attempt; ``failures`` counts it too."""
        if attempt.status_code == GONE:
            return DisabledReason.GONE
        if failures >= self.failures and failing_seconds >= self.seconds:
            return DisabledReason.FAILING
        return None


def read_retry_after(value: str | None) -> float | None:
    """Read ``Retry-After``: seconds, or a date (RFC 9110); what is neither says nothing."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - clock.now()).total_seconds()
        except (TypeError, ValueError):
            return None
    return seconds if 0 < seconds < float("inf") else None
