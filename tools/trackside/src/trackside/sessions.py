"""The sessions of a weekend under Jolpica's names, and where a race body keeps their times."""

from collections.abc import Mapping

from msgspec import UNSET
from msgspec.structs import replace

from trackside.bodies import Race, SessionTime

RACE = "Race"
QUALIFYING = "Qualifying"
SPRINT = "Sprint"

FIELDS = {
    "FirstPractice": "first_practice",
    "SecondPractice": "second_practice",
    "ThirdPractice": "third_practice",
    "Qualifying": "qualifying",
    "Sprint": "sprint",
    "SprintQualifying": "sprint_qualifying",
    "SprintShootout": "sprint_shootout",
}


def sessions_of(race: Race) -> dict[str, SessionTime]:
    """The sessions a body names, the race among them, in the order they are held."""
    times: dict[str, SessionTime] = {RACE: SessionTime(date=race.date, time=race.time)}
    for name, attribute in FIELDS.items():
        time = getattr(race, attribute)
        if time is not UNSET:
            times[name] = time
    return dict(sorted(times.items(), key=lambda item: (item[1].date, item[1].time or "", item[0] == RACE)))


def with_sessions(race: Race, times: Mapping[str, SessionTime]) -> Race:
    """The same race at other times."""
    return replace(
        race,
        date=times[RACE].date,
        time=times[RACE].time,
        **{FIELDS[name]: time for name, time in times.items() if name != RACE},
    )


def without_sessions(race: Race) -> Race:
    """The race as it heads a list of results: its own date and time only."""
    return replace(race, **dict.fromkeys(FIELDS.values(), UNSET))
