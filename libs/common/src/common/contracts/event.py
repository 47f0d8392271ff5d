"""The base of every event, and the registry that subjects resolve through.

An event is a fact in the past tense. On the wire it is a CloudEvent 1.0 in binary mode: the attributes are NATS
headers, the struct is the JSON body. A published version only ever gains optional fields; anything else is a new
class with the next ``version`` and, from version 2 on, a subject with the suffix ``.vN``.
"""

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeVar
from uuid import UUID

import msgspec

from common.errors import PoisonError

EventT = TypeVar("EventT", bound="Event")

REGISTRY: dict[str, type["Event"]] = {}
"""NATS subject to event class, for every event of the product."""

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A moment with its time zone: RFC 3339, ``date-time`` in the schemas."""

_LATER_VERSION = re.compile(r"\.v([2-9]|[1-9]\d+)$")


def split(subject: str) -> tuple[str, int]:
    """Return the name and the major version that a subject stands for: ``results.synced.v2`` is version 2."""
    later = _LATER_VERSION.search(subject)
    return (subject[: later.start()], int(later[1])) if later else (subject, 1)


def type_of(subject: str) -> str:
    """Return the ``ce-type`` of a subject, which names the major version always: ``paddock.results.synced.v1``."""
    name, version = split(subject)
    return f"paddock.{name}.v{version}"


def schema_of(subject: str) -> str:
    """Return the ``ce-dataschema`` of a subject, which is the ``$id`` of its JSON Schema."""
    name, version = split(subject)
    return f"urn:paddock:schema:{name}:v{version}"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that one service publishes and any other may rely on."""

    subject: ClassVar[str]
    """The NATS subject, for example ``results.synced``."""
    source: ClassVar[str]
    """The service that owns the event; ``ce-source`` is ``/paddock/<source>``."""
    version: ClassVar[int] = 1
    """The major version of the shape."""

    def key(self) -> str:
        """Name the aggregate the fact is about: ``ce-subject``, and the unit within which order is kept."""
        raise NotImplementedError

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - msgspec's own signature
        super().__init_subclass__(**kwargs)
        if "subject" in cls.__dict__:
            taken = REGISTRY.get(cls.subject)
            if taken is not None and taken.__qualname__ != cls.__qualname__:
                msg = f"subject {cls.subject} belongs to {taken.__qualname__}"
                raise TypeError(msg)
            if split(cls.subject)[1] != cls.version:
                raise TypeError(f"subject {cls.subject} and version {cls.version} of {cls.__qualname__} disagree")
            REGISTRY[cls.subject] = cls


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The CloudEvents attributes of a delivered event."""

    id: UUID
    type: str
    source: str
    subject: str
    time: str
    """RFC 3339, UTC."""
    traceparent: str | None = None


def check_type(envelope: Envelope, kind: type[Event]) -> None:
    """Refuse an event that says it is something else than ``kind``, an unknown major version above all.

    Events that were stored before types had versions name their subject alone; that was version 1.

    Raises:
        PoisonError: trying again cannot help.
    """
    if envelope.type not in {type_of(kind.subject), *([kind.subject] if kind.version == 1 else [])}:
        raise PoisonError("unknown_type", f"{envelope.type} came where {type_of(kind.subject)} is read")


def encode(event: Event) -> bytes:
    """Render the body of ``event`` as JSON."""
    return msgspec.json.encode(event)


def decode(kind: type[EventT], body: bytes) -> EventT:
    """Read a body; raise ``msgspec.DecodeError`` or ``msgspec.ValidationError`` when it is not a ``kind``."""
    return msgspec.json.decode(body, type=kind)
