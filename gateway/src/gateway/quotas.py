"""Quotas as values: policies, what a request asks of them, what is left, and the count of one process alone."""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from gateway.routes import Limit
from gateway.settings import GatewaySettings

WINDOW_SECONDS = 60
MICRO = 1_000_000
LOCAL_SUBJECTS = 50_000
LOCAL_CREDENTIALS_PER_MINUTE = 5
EXCHANGE = "exchange"
"""The policy of personal access tokens that are new to the gateway."""


class Policy(msgspec.Struct, frozen=True):
    """How much of something a subject may have in a minute, with Redis and without; 0 is no limit."""

    name: str
    per_minute: int
    alone_per_minute: int


class Demand(msgspec.Struct, frozen=True):
    """One unit of a policy's quota, wanted for a subject (an address or a user)."""

    policy: Policy
    subject: str

    @property
    def key(self) -> str:
        """Where the state is, in Redis and here."""
        return f"limit:{self.policy.name}:{self.subject}"


class Quota(msgspec.Struct, frozen=True):
    """What is left of a policy for a subject."""

    name: str
    per_minute: int
    remaining: int
    reset_seconds: int
    """Until the whole quota is back."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether a request passes, and what to tell the client about its quotas."""

    quotas: Sequence[Quota]
    retry_after: int
    """Seconds to wait; 0 when the request passes."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Render ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-11)."""
        if not self.quotas:
            return []
        policies = ", ".join(f'"{quota.name}";q={quota.per_minute};w={WINDOW_SECONDS}' for quota in self.quotas)
        states = ", ".join(f'"{quota.name}";r={quota.remaining};t={quota.reset_seconds}' for quota in self.quotas)
        return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", states.encode())]


NO_LIMIT = Verdict((), 0)


def policies_of(settings: GatewaySettings) -> dict[str, Policy]:
    """The policies of a deployment, by name: those per address, ``user`` per user, ``admin`` per admin."""
    credentials = settings.gateway_limit_credentials_per_minute
    sizes = {
        Limit.DEFAULT.value: settings.gateway_limit_default_per_minute,
        Limit.ANALYTICS.value: settings.gateway_limit_analytics_per_minute,
        "user": settings.gateway_limit_user_per_minute,
        "admin": settings.gateway_limit_admin_per_minute,
        EXCHANGE: settings.gateway_limit_exchange_per_minute,
    }
    policies = {name: Policy(name, size, size) for name, size in sizes.items()}
    policies["credentials"] = Policy("credentials", credentials, min(credentials, LOCAL_CREDENTIALS_PER_MINUTE))
    return policies


class Alone:
    """The same limits counted in this process, for as many subjects as memory is set aside for."""

    def __init__(self) -> None:
        self._due: OrderedDict[str, int] = OrderedDict()
        """When each bucket would be full again, in microseconds."""

    def take(self, demands: Sequence[Demand], now: int) -> Verdict:
        """Charge all demands or none; ``now`` is microseconds of any steady clock."""
        intervals = [interval_of(demand.policy.alone_per_minute) for demand in demands]
        windows = [
            interval * demand.policy.alone_per_minute for interval, demand in zip(intervals, demands, strict=True)
        ]
        dues = [max(self._due.get(demand.key, now), now) for demand in demands]
        ends = zip(dues, intervals, windows, strict=True)
        wait = max(due + interval - now - window for due, interval, window in ends)
        quotas = []
        for demand, due, interval, window in zip(demands, dues, intervals, windows, strict=True):
            after = due + interval if wait <= 0 else due
            self._due[demand.key] = after
            self._due.move_to_end(demand.key)
            policy = demand.policy
            remaining = (now + window - after) // interval
            quotas.append(Quota(policy.name, policy.alone_per_minute, remaining, whole_seconds(after - now)))
        while len(self._due) > LOCAL_SUBJECTS:
            self._due.popitem(last=False)
        return Verdict(quotas, whole_seconds(wait))


def interval_of(per_minute: int) -> int:
    """Return how long one unit of a quota takes to come back, in microseconds."""
    return WINDOW_SECONDS * MICRO // per_minute


def whole_seconds(microseconds: int) -> int:
    """Return the seconds after which that time is surely over; 0 for none."""
    return max(0, -(-microseconds // MICRO))
