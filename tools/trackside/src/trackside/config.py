"""What a server is started with."""

from datetime import datetime
from pathlib import Path

from msgspec import Struct

DEFAULT_SEED = 24
PUBLIC_URL = "http://trackside.localhost"
"""Stands in bodies as the server's own address, so that they are the same on every port."""


class ConfigError(Exception):
    """The server cannot start so; the message says what to change."""


class Config(Struct, frozen=True, kw_only=True):
    """How to serve a season.

    `start` is the instant of the first weekend, aware of its offset; `None` is the moment the server starts. `pace` is
    in seconds per weekend; 0 serves the whole season at its real dates. `recorded` is a folder of recorded bodies;
    `None` generates the season from `seed`. `rounds` are the first and last round served. `state` is a file that keeps
    the start and the amendments over a restart. `throttle` is a number of requests per second, `None` no limit.
    """

    season: int = 2026
    seed: int = DEFAULT_SEED
    start: datetime | None = None
    pace: float = 0.0
    recorded: Path | None = None
    rounds: tuple[int, int] | None = None
    state: Path | None = None
    throttle: int | None = None

    def __post_init__(self) -> None:
        if self.pace < 0:
            raise ConfigError("pace is a number of seconds per weekend, 0 or more")
        if self.rounds is not None and not 1 <= self.rounds[0] <= self.rounds[1]:
            raise ConfigError("rounds are given as A-B with 1 <= A <= B")
        if self.start is not None and self.start.tzinfo is None:
            raise ConfigError("start needs an offset from UTC")
        if self.throttle is not None and self.throttle < 1:
            raise ConfigError("throttle is a number of requests per second, 1 or more")
