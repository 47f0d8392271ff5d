"""What scoring is told by its environment."""

from typing import Annotated, ClassVar

import msgspec

from common.settings import Settings, described


class ScoringSettings(Settings, frozen=True, kw_only=True):
    """Settings of scoring, read from ``SCORING_*``."""

    prefix: ClassVar[str] = "SCORING_"

    coalesce_seconds: Annotated[
        float,
        msgspec.Meta(ge=0, le=60),
        described("How long to wait for more changes before scoring a round, so that many cause one scoring"),
    ] = 0.1
    statement_seconds: Annotated[
        int, msgspec.Meta(ge=1, le=3600), described("Longest that one statement of scoring a round may take")
    ] = 120
    league_events: Annotated[
        int,
        msgspec.Meta(ge=0, le=1_000_000),
        described("Most leagues that get a leaderboard.updated of their own per scoring, largest first"),
    ] = 10_000
