"""The published language: every event that crosses a service's border, one module per producer."""

from common.contracts import analytics, auth, ingest, leagues, scoring
from common.contracts.event import REGISTRY, Envelope, Event, decode, encode

__all__ = ["REGISTRY", "Envelope", "Event", "analytics", "auth", "decode", "encode", "ingest", "leagues", "scoring"]
