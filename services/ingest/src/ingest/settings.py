"""What `ingest` is told by its environment."""

from typing import Annotated, ClassVar

import msgspec

from common.settings import Settings, described

POSITIVE = msgspec.Meta(gt=0)


class IngestSettings(Settings, frozen=True, kw_only=True):
    """Where the truth comes from, how hard we may ask for it, and when we do."""

    prefix: ClassVar[str] = "INGEST_"

    jolpica_url: Annotated[str, described("Base URL of Jolpica, or of `trackside`"), msgspec.Meta(min_length=8)] = (
        "https://api.jolpi.ca/ergast/f1"
    )
    season: Annotated[
        str,
        described("The season to follow: a year, or `current` for the one the upstream calls so"),
        msgspec.Meta(pattern=r"^(current|[12][0-9]{3})$"),
    ] = "current"
    requests_per_second: Annotated[int, described("Requests to the upstream in any second"), POSITIVE] = 4
    requests_per_hour: Annotated[int, described("Requests to the upstream in any hour"), POSITIVE] = 500
    request_timeout_seconds: Annotated[float, described("How long one answer of the upstream may take"), POSITIVE] = (
        15.0
    )
    retry_attempts: Annotated[int, described("Tries of one request before the run gives up"), POSITIVE] = 5
    retry_wait_seconds: Annotated[float, described("First pause between tries; it doubles, with jitter"), POSITIVE] = (
        1.0
    )
    calendar_seconds: Annotated[float, described("Seconds between looks at calendar and entries"), POSITIVE] = 86_400.0
    result_delay_seconds: Annotated[
        float, described("Seconds after a session's start before its result is asked for"), msgspec.Meta(ge=0)
    ] = 3600.0
    poll_seconds: Annotated[
        float, described("Seconds between questions for a result that is not there yet"), POSITIVE
    ] = 60.0
    recheck_seconds: Annotated[float, described("Seconds between looks for late penalties"), POSITIVE] = 86_400.0
    recheck_days: Annotated[float, described("Days after a session in which penalties may come"), POSITIVE] = 14.0
