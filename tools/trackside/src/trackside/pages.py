"""Answers: one page of rows out of a season as it is now, in Jolpica's envelope.

Paging counts rows, so a race's results or a lap's cars can be split over two pages.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trackside.addresses import Address, Page
from trackside.bodies import Constructor, Driver, Lap, QualifyingRow, Race, ResultRow, Status, Timing
from trackside.season import Season, Weekend
from trackside.sessions import without_sessions
from trackside.standings import constructor_standings, driver_standings

Row = TypeVar("Row")
Table = dict[str, Any]


class Answer(Struct, frozen=True):
    """A table's name, its content cut to one page, and how many rows there are in all."""

    table: str
    content: Table
    total: int


def resolve(address: Address, season: Season) -> Address:
    """Put numbers in the place of `current`, `last` and `next`, as the season stands."""
    year = str(season.year) if address.season == "current" else address.season
    if address.round not in {"last", "next"}:
        number = None if address.round is None else str(int(address.round))
        return replace(address, season=year, round=number)
    raced = [weekend.round for weekend in season.weekends if weekend.results]
    coming = [weekend.round for weekend in season.weekends if not weekend.results]
    if address.round == "last":
        number = str(raced[-1] if raced else season.weekends[0].round)
    else:
        number = str(coming[0] if coming else season.weekends[-1].round)
    return replace(address, season=year, round=number)


def criteria(address: Address) -> Table:
    """What was asked, as a table repeats it."""
    named = {
        "season": address.season,
        "round": address.round,
        "driverId": address.driver_id,
        "constructorId": address.constructor_id,
    }
    return {name: value for name, value in named.items() if value is not None}


def _asked(address: Address, season: Season) -> list[Weekend]:
    """The weekends an address speaks of; none for another season or an unknown round."""
    if address.season != str(season.year):
        return []
    return [weekend for weekend in season.weekends if address.round in {None, weekend.race.round}]


def _cut(rows: Sequence[Row], page: Page) -> Sequence[Row]:
    return rows[page.offset : page.offset + page.limit]


def _wanted(address: Address, row: ResultRow | QualifyingRow) -> bool:
    return address.driver_id in {None, row.driver.driver_id} and address.constructor_id in {
        None,
        row.constructor.constructor_id,
    }


def _race_rows(
    address: Address, season: Season, page: Page, rows_of: Callable[[Weekend], Iterable[Row]], field: str
) -> Answer:
    """Rows of races: cut over all of them, then put back under the race each belongs to."""
    rows = [(weekend, row) for weekend in _asked(address, season) for row in rows_of(weekend)]
    races: list[tuple[Race, list[Row]]] = []
    for weekend, row in _cut(rows, page):
        if not races or races[-1][0].round != weekend.race.round:
            races.append((weekend.race, []))
        races[-1][1].append(row)
    shown = [replace(without_sessions(race), **{field: tuple(kept)}) for race, kept in races]
    return Answer("RaceTable", {**criteria(address), "Races": shown}, len(rows))


def _races(address: Address, season: Season, page: Page) -> Answer:
    races = [weekend.race for weekend in _asked(address, season)]
    return Answer("RaceTable", {**criteria(address), "Races": _cut(races, page)}, len(races))


def _results(address: Address, season: Season, page: Page) -> Answer:
    def rows(weekend: Weekend) -> list[ResultRow]:
        return [row for row in weekend.results if _wanted(address, row)]

    return _race_rows(address, season, page, rows, "results")


def _sprint(address: Address, season: Season, page: Page) -> Answer:
    def rows(weekend: Weekend) -> list[ResultRow]:
        return [row for row in weekend.sprint if _wanted(address, row)]

    return _race_rows(address, season, page, rows, "sprint_results")


def _qualifying(address: Address, season: Season, page: Page) -> Answer:
    def rows(weekend: Weekend) -> list[QualifyingRow]:
        return [row for row in weekend.qualifying if _wanted(address, row)]

    return _race_rows(address, season, page, rows, "qualifying_results")


def _pit_stops(address: Address, season: Season, page: Page) -> Answer:
    return _race_rows(address, season, page, lambda weekend: weekend.pit_stops, "pit_stops")


def _laps(address: Address, season: Season, page: Page) -> Answer:
    """A row is one car on one lap."""

    def rows(weekend: Weekend) -> Iterable[tuple[str, Timing]]:
        for lap in weekend.laps:
            if address.lap in {None, lap.number}:
                yield from ((lap.number, timing) for timing in lap.timings)

    answer = _race_rows(address, season, page, rows, "laps")
    races = [replace(race, laps=_by_lap(race.laps)) for race in answer.content["Races"]]
    return Answer(answer.table, {**answer.content, "Races": races}, answer.total)


def _by_lap(timings: Iterable[tuple[str, Timing]]) -> tuple[Lap, ...]:
    laps: dict[str, list[Timing]] = {}
    for number, timing in timings:
        laps.setdefault(number, []).append(timing)
    return tuple(Lap(number=number, timings=tuple(rows)) for number, rows in laps.items())


def _drivers(address: Address, season: Season, page: Page) -> Answer:
    weekends = _asked(address, season)
    if address.round is None and address.constructor_id is None:
        drivers = list(season.drivers) if weekends else []
    else:
        found = {
            driver.driver_id: driver
            for driver, constructor in _seats(address, season, weekends)
            if address.constructor_id in {None, constructor.constructor_id}
        }
        drivers = sorted(found.values(), key=lambda driver: driver.family_name)
    drivers = [driver for driver in drivers if address.driver_id in {None, driver.driver_id}]
    return Answer("DriverTable", {**criteria(address), "Drivers": _cut(drivers, page)}, len(drivers))


def _constructors(address: Address, season: Season, page: Page) -> Answer:
    weekends = _asked(address, season)
    if address.round is None and address.driver_id is None:
        constructors = list(season.constructors) if weekends else []
    else:
        found = {
            constructor.constructor_id: constructor
            for driver, constructor in _seats(address, season, weekends)
            if address.driver_id in {None, driver.driver_id}
        }
        constructors = sorted(found.values(), key=lambda constructor: constructor.constructor_id)
    constructors = [found for found in constructors if address.constructor_id in {None, found.constructor_id}]
    content = {**criteria(address), "Constructors": _cut(constructors, page)}
    return Answer("ConstructorTable", content, len(constructors))


def _seats(address: Address, season: Season, weekends: list[Weekend]) -> list[tuple[Driver, Constructor]]:
    """Who drives for whom: of a round once it was held, of a season from before its first session."""
    held = [seat for weekend in weekends for seat in weekend.seats]
    return held if address.round is not None or not weekends else [*season.first_seats, *held]


def _circuits(address: Address, season: Season, page: Page) -> Answer:
    held = {weekend.race.circuit.circuit_id: weekend.race.circuit for weekend in _asked(address, season)}
    circuits = [held[name] for name in sorted(held)]
    return Answer("CircuitTable", {**criteria(address), "Circuits": _cut(circuits, page)}, len(circuits))


def _status(address: Address, season: Season, page: Page) -> Answer:
    counts = Counter(
        row.status for weekend in _asked(address, season) for row in weekend.results if _wanted(address, row)
    )
    statuses = [Status(season.status_ids.get(text, "0"), str(count), text) for text, count in counts.items()]
    statuses.sort(key=lambda status: int(status.status_id))
    return Answer("StatusTable", {**criteria(address), "Status": _cut(statuses, page)}, len(statuses))


def _standings(address: Address, season: Season, page: Page) -> Answer:
    """Standings after a round, or after the last one that was raced."""
    raced = [weekend for weekend in _asked(replace(address, round=None), season) if weekend.results]
    if address.round is None and raced:
        address = replace(address, round=raced[-1].race.round)
    after = next((weekend for weekend in raced if weekend.race.round == address.round), None)
    rows: Sequence[Any] = ()
    drivers = address.endpoint == "driverstandings"
    if after is not None:
        counted = [*season.prologue, *(weekend for weekend in raced if weekend.round <= after.round)]
        if drivers:
            rows = driver_standings(counted) if after.driver_standings is None else after.driver_standings
        else:
            known = after.constructor_standings
            rows = constructor_standings(counted) if known is None else known
    shown = _cut(rows, page)
    named = criteria(address)
    lists = [{**named, ("DriverStandings" if drivers else "ConstructorStandings"): shown}] if shown else []
    return Answer("StandingsTable", {**named, "StandingsLists": lists}, len(rows))


def _seasons(_: Address, season: Season, page: Page) -> Answer:
    years = [{"season": str(season.year), "url": f"https://en.wikipedia.org/wiki/{season.year}_Formula_One_season"}]
    return Answer("SeasonTable", {"Seasons": _cut(years, page)}, len(years))


ENDPOINTS: dict[str, Callable[[Address, Season, Page], Answer]] = {
    "seasons": _seasons,
    "races": _races,
    "drivers": _drivers,
    "constructors": _constructors,
    "circuits": _circuits,
    "status": _status,
    "results": _results,
    "qualifying": _qualifying,
    "sprint": _sprint,
    "driverstandings": _standings,
    "constructorstandings": _standings,
    "pitstops": _pit_stops,
    "laps": _laps,
}


def render(address: Address, season: Season, page: Page, url: str, *, short: bool = False) -> bytes:
    """The whole body. A simulated season says so in its `MRData`, beside the `series`.

    `short` leaves out the last row of the page, and goes on counting it.
    """
    answer_to, asked = ENDPOINTS[address.endpoint], resolve(address, season)
    answer = answer_to(asked, season, page)
    if short:
        answer = answer_to(asked, season, replace(page, limit=max(0, min(page.limit, answer.total - page.offset) - 1)))
    data = {
        "xmlns": "",
        "series": "f1",
        **({"simulated": "true"} if season.simulated else {}),
        "url": url,
        "limit": str(page.limit),
        "offset": str(page.offset),
        "total": str(answer.total),
        answer.table: answer.content,
    }
    return msgspec.json.encode({"MRData": data})
