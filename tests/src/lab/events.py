"""Events of the tests' own. Their subjects have roots that the stream keeps and that no service publishes."""

from typing import ClassVar

from common.contracts.event import REGISTRY, Event

SERVICE = "auth"
"""Whose schema, outbox channel and NATS user the tests borrow, in databases of their own."""


class ChunkScored(Event, frozen=True, kw_only=True):
    """A hundred teams get the points of one part of a race."""

    subject: ClassVar[str] = "laps.chunk"
    source: ClassVar[str] = SERVICE

    number: int

    def key(self) -> str:
        """The chunk."""
        return str(self.number)


class ChunkBooked(Event, frozen=True, kw_only=True):
    """The points of a chunk are with its teams."""

    subject: ClassVar[str] = "laps.booked"
    source: ClassVar[str] = SERVICE

    number: int
    total: int

    def key(self) -> str:
        """The chunk."""
        return str(self.number)


class LapDriven(Event, frozen=True, kw_only=True):
    """A car has crossed the line."""

    subject: ClassVar[str] = "laps.driven"
    source: ClassVar[str] = SERVICE

    car: str
    number: int
    note: str = ""

    def key(self) -> str:
        """The car, whose laps are in order."""
        return self.car


class LapTimed(Event, frozen=True, kw_only=True):
    """A lap has its time."""

    subject: ClassVar[str] = "laps.timed"
    source: ClassVar[str] = SERVICE

    car: str
    number: int

    def key(self) -> str:
        """The car."""
        return self.car


for _own in (ChunkScored, ChunkBooked, LapDriven, LapTimed):
    del REGISTRY[_own.subject]  # other tests in the same process hold the documents against the catalogue
