"""Who takes part in a generated season: facts, read from `facts/entries_{season}.json`."""

from importlib import resources

import msgspec
from msgspec import Struct

from trackside import bodies


class ConstructorFacts(Struct, frozen=True):
    """A constructor and its two drivers."""

    constructor_id: str
    name: str
    nationality: str
    url: str
    drivers: tuple[str, ...]

    @property
    def body(self) -> bodies.Constructor:
        """The constructor as a body has it."""
        return bodies.Constructor(
            constructor_id=self.constructor_id, url=self.url, name=self.name, nationality=self.nationality
        )


class DriverFacts(Struct, frozen=True):
    """A driver under the number he races with."""

    driver_id: str
    number: str
    code: str
    given_name: str
    family_name: str
    date_of_birth: str
    nationality: str
    url: str

    @property
    def body(self) -> bodies.Driver:
        """The driver as a body has him."""
        return bodies.Driver(
            driver_id=self.driver_id,
            permanent_number=self.number,
            code=self.code,
            url=self.url,
            given_name=self.given_name,
            family_name=self.family_name,
            date_of_birth=self.date_of_birth,
            nationality=self.nationality,
        )


class Entry(Struct, frozen=True):
    """One car: who drives it, for whom."""

    driver: bodies.Driver
    constructor: bodies.Constructor
    number: str


class Entries(Struct, frozen=True):
    """A season's constructors by id, and its drivers by family name."""

    season: int
    constructors: tuple[ConstructorFacts, ...]
    drivers: tuple[DriverFacts, ...]

    @property
    def cars(self) -> tuple[Entry, ...]:
        """All cars, team by team."""
        drivers = {driver.driver_id: driver for driver in self.drivers}
        return tuple(
            Entry(driver=drivers[name].body, constructor=constructor.body, number=drivers[name].number)
            for constructor in self.constructors
            for name in constructor.drivers
        )


def load(season: int) -> Entries | None:
    """The entries of a season, or `None` where no facts are shipped for it."""
    facts = resources.files("trackside") / "facts" / f"entries_{season}.json"
    if not facts.is_file():
        return None
    return msgspec.json.decode(facts.read_bytes(), type=Entries)
