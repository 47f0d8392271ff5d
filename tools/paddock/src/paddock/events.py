"""Documents about events, generated from the contracts: schemas, samples, `events.md` and AsyncAPI 3."""

import json

import msgspec

from common.contracts import REGISTRY, encode, split
from common.contracts.samples import SAMPLES
from common.contracts.schemas import json_schema
from paddock.asyncapi import asyncapi
from paddock.subscribing import markdown

CONSUMERS = {
    "user.registered": ["leagues"],
    "mail.requested": ["auth"],
    "user.updated": ["leagues"],
    "user.deactivated": ["leagues", "webhooks"],
    "user.activated": ["leagues", "webhooks"],
    "user.deleted": ["leagues", "scoring", "webhooks"],
    "season.synced": ["leagues", "scoring", "analytics", "webhooks"],
    "session.started": ["leagues", "webhooks"],
    "race.finished": ["webhooks"],
    "results.synced": ["scoring", "analytics", "webhooks"],
    "results.amended": ["scoring", "analytics", "webhooks"],
    "league.created": ["scoring", "webhooks"],
    "league.joined": ["auth", "scoring", "webhooks"],
    "team.created": ["scoring"],
    "lineup.submitted": ["scoring"],
    "lineups.locked": ["scoring", "webhooks"],
    "race.scored": ["webhooks"],
    "leaderboard.updated": ["webhooks"],
    "prices.changed": ["leagues", "webhooks"],
}
"""Which of our own services act on an event; a test holds this against their consumers."""


def path_of(subject: str, kind: str) -> str:
    """Return where an event's ``schema`` or ``sample`` is, below `docs/`: by name and major version."""
    name, version = split(subject)
    return f"events/{name}/v{version}.{kind}.json"


def documents() -> dict[str, str]:
    """Return every generated file about events, by its path below `docs/`."""
    files = {"events.md": markdown(CONSUMERS, path_of), "asyncapi.yaml": asyncapi(CONSUMERS)}
    for subject, kind in REGISTRY.items():
        files[path_of(subject, "schema")] = json.dumps(json_schema(kind), indent=2, ensure_ascii=False) + "\n"
    for sample in SAMPLES:
        body = msgspec.json.format(encode(sample), indent=2).decode()
        files[path_of(sample.subject, "sample")] = body + "\n"
    return files
