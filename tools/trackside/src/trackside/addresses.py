"""What a client asks for: the address under `/ergast/f1/` and its paging, as Jolpica understands them."""

import re

from msgspec import Struct

DEFAULT_LIMIT = 30
LARGEST_LIMIT = 100

ENDPOINTS = frozenset(
    {
        "races",
        "drivers",
        "constructors",
        "circuits",
        "status",
        "results",
        "qualifying",
        "sprint",
        "driverstandings",
        "constructorstandings",
        "pitstops",
        "laps",
    }
)
ROUND_NEEDED = frozenset({"pitstops", "laps"})
SEASON = re.compile(r"[0-9]{4}|current")
ROUND = re.compile(r"[0-9]{1,2}|last|next")
NAME = re.compile(r"[A-Za-z0-9_\-]+")


class UnknownAddressError(Exception):
    """No such address: 404 and a page of HTML."""


class BadRequestError(Exception):
    """The address cannot be answered so: 400 and `detail`."""


class Address(Struct, frozen=True, kw_only=True):
    """A parsed address; `season` and `round` can still be `current`, `last` and `next`."""

    endpoint: str
    season: str | None = None
    round: str | None = None
    driver_id: str | None = None
    constructor_id: str | None = None
    lap: str | None = None


class Page(Struct, frozen=True):
    """Which rows; `limit` is what is served, never more than 100."""

    limit: int
    offset: int


def _segments(path: str) -> list[str]:
    """The parts of a path, with or without a slash or `.json` at its end."""
    return path.strip("/").removesuffix(".json").strip("/").split("/")


def parse(path: str) -> Address:
    """Understand the part of a path after `/ergast/f1/`.

    Raises:
        UnknownAddressError: nothing is served there.
        BadRequestError: laps and pit stops need a season and a round.
    """
    parts = _segments(path)
    if parts == ["seasons"]:
        return Address(endpoint="seasons")
    season = parts.pop(0)
    if not SEASON.fullmatch(season):
        raise UnknownAddressError(path)
    number = parts.pop(0) if parts and ROUND.fullmatch(parts[0]) else None
    criteria: dict[str, str] = {}
    while len(parts) > 2 and parts[0] in {"drivers", "constructors"}:  # noqa: PLR2004 - name, value, and more to come
        kind, name = parts.pop(0), parts.pop(0)
        criteria["driver_id" if kind == "drivers" else "constructor_id"] = name
    endpoint = parts.pop(0).lower() if parts else "races"
    if endpoint not in ENDPOINTS or len(parts) > 1 or not all(NAME.fullmatch(part) for part in parts):
        raise UnknownAddressError(path)
    if endpoint in ROUND_NEEDED and number is None:
        raise BadRequestError("Bad Request: Missing one of the required parameters ['season_year', 'race_round'].")
    if parts:
        final = {"drivers": "driver_id", "constructors": "constructor_id", "laps": "lap"}.get(endpoint)
        if final is None:
            raise BadRequestError("Bad Request: Endpoint does not support final filter.")
        criteria[final] = parts[0]
    return Address(endpoint=endpoint, season=season, round=number, **criteria)


def page(limit: str | None, offset: str | None) -> Page:
    """Understand the paging parameters; a limit above 100 is 100 without a word.

    Raises:
        BadRequestError: not a number, or below 0. Jolpica itself falls back to 30 and 0; here a client's mistake shows.
    """
    return Page(
        limit=min(_number("limit", limit, DEFAULT_LIMIT, least=1), LARGEST_LIMIT),
        offset=_number("offset", offset, 0, least=0),
    )


def _number(name: str, text: str | None, default: int, *, least: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise BadRequestError(f"Bad Request: {name} must be a whole number of at least {least}.")
    return int(text)
