"""The published language: every event that crosses a service's border, one module per producer."""

from common.contracts import analytics, auth, ingest, leagues, scoring
from common.contracts.event import REGISTRY, Envelope, Event, check_type, decode, encode, schema_of, split, type_of

__all__ = [
    "REGISTRY",
    "Envelope",
    "Event",
    "analytics",
    "auth",
    "check_type",
    "decode",
    "encode",
    "ingest",
    "leagues",
    "schema_of",
    "scoring",
    "split",
    "type_of",
]
