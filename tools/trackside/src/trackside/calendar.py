"""The calendar of a generated season: facts, read from `facts/calendar_{season}.json`."""

from datetime import datetime
from importlib import resources

import msgspec
from msgspec import Struct

from trackside.bodies import Circuit, Location, Race, SessionTime
from trackside.sessions import with_sessions


class Track(Struct, frozen=True):
    """A circuit and what a simulation needs of it: laps of a race, length in km, a quick lap in seconds."""

    circuit_id: str
    name: str
    url: str
    lat: str
    long: str
    locality: str
    country: str
    race_laps: int
    length_km: float
    reference_lap_s: float

    @property
    def body(self) -> Circuit:
        """The circuit as a body has it."""
        place = Location(lat=self.lat, long=self.long, locality=self.locality, country=self.country)
        return Circuit(circuit_id=self.circuit_id, url=self.url, circuit_name=self.name, location=place)


class Round(Struct, frozen=True):
    """One weekend: its sessions by Jolpica's names, with the race as `Race`, and the instant each starts."""

    round: int
    name: str
    circuit: str
    sessions: dict[str, datetime]

    @property
    def sprint(self) -> bool:
        """Whether it is a sprint weekend."""
        return "Sprint" in self.sessions


class Calendar(Struct, frozen=True):
    """A season's circuits and rounds."""

    season: int
    circuits: tuple[Track, ...]
    rounds: tuple[Round, ...]

    def track(self, circuit_id: str) -> Track:
        """The track a round is held on."""
        return next(track for track in self.circuits if track.circuit_id == circuit_id)

    def race(self, weekend: Round, public_url: str) -> Race:
        """A weekend as a body has it, labelled as simulated; its `url` points at this server."""
        race = Race(
            season=str(self.season),
            round=str(weekend.round),
            url=f"{public_url}/ergast/f1/{self.season}/{weekend.round}/",
            race_name=f"{weekend.name} (simulated)",
            circuit=self.track(weekend.circuit).body,
            date="",
        )
        return with_sessions(race, {name: session_time(at) for name, at in weekend.sessions.items()})


def session_time(at: datetime) -> SessionTime:
    """An instant as a body has it."""
    return SessionTime(date=f"{at:%Y-%m-%d}", time=f"{at:%H:%M:%SZ}")


def load(season: int) -> Calendar | None:
    """The calendar of a season, or `None` where no facts are shipped for it."""
    facts = resources.files("trackside") / "facts" / f"calendar_{season}.json"
    if not facts.is_file():
        return None
    return msgspec.json.decode(facts.read_bytes(), type=Calendar)
