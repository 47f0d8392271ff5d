"""Bodies: the event itself as a structured CloudEvent, or told in words as Discord and Slack take it."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from uuid import UUID

import msgspec

from common.contracts import REGISTRY, Event, decode, schema_of, type_of
from common.contracts.ingest import RaceFinished, ResultsAmended, ResultsSynced, SeasonSynced, SessionStarted
from common.contracts.leagues import LineupsLocked
from common.contracts.scoring import LeaderboardUpdated, PricesChanged, RaceScored
from webhooks.domain import Format

CARS = 10
ASSETS = 5
TITLE_LENGTH = 200
TEXT_LENGTH = 2500
"""Discord takes 4096 characters, Slack 3000; escapes need some of them."""
TENTHS = 10

_DISCORD = re.compile(r"([\\*_~`|>\[\]()#@<:-])")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it came, to be sent to any number of endpoints."""

    event_id: UUID
    subject: str
    source: str
    key: str
    time: str
    """RFC 3339."""
    body: bytes


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """An event in words."""

    title: str
    lines: list[str]


def render(message: Message, form: Format) -> tuple[str, bytes]:
    """Return content type and body of a message."""
    if form is Format.CLOUDEVENTS:
        return "application/cloudevents+json", cloud_event(message)
    tell = _as_discord if form is Format.DISCORD else _as_slack
    return "application/json", msgspec.json.encode(tell(story(message), message))


def cloud_event(message: Message) -> bytes:
    """Render CloudEvents 1.0 in structured mode; the data are the bytes that were published."""
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": str(message.event_id),
            "type": type_of(message.subject),
            "source": message.source,
            "subject": message.key,
            "time": message.time,
            "datacontenttype": "application/json",
            **({"dataschema": schema_of(message.subject)} if message.subject in REGISTRY else {}),
            "data": msgspec.Raw(message.body),
        }
    )


def story(message: Message) -> Story:
    """Tell an event; one that has no words of its own is told by its name."""
    kind = REGISTRY.get(message.subject)
    teller = _TELLERS.get(kind) if kind else None
    if kind is None or teller is None:
        return Story(title=f"Paddock: {message.subject}", lines=["It works."])
    told: Story = teller(decode(kind, message.body))
    return told


def _season(event: SeasonSynced) -> Story:
    counted = f"{len(event.races)} races, {len(event.drivers)} drivers, {len(event.constructors)} constructors"
    return Story(title=f"Season {event.season} updated", lines=[counted])


def _started(event: SessionStarted) -> Story:
    return Story(title=f"{_named(event.session)} has started", lines=[_weekend(event.season, event.round)])


def _finished(event: RaceFinished) -> Story:
    podium = [f"{place}. {_named(driver)}" for place, driver in enumerate(event.podium, 1)]
    title = f"{event.name}: {_named(event.winner)} wins"
    return Story(title=title, lines=[_weekend(event.season, event.round), *podium])


def _results(event: ResultsSynced) -> Story:
    return Story(title=f"{_named(event.session)}: the classification is in", lines=[*_classification(event)])


def _amended(event: ResultsAmended) -> Story:
    lines = [_plain(event.reason), *_classification(event)]
    return Story(title=f"{_named(event.session)}: the classification was changed", lines=lines)


def _classification(event: ResultsSynced | ResultsAmended) -> Iterable[str]:
    yield _weekend(event.season, event.round)
    for car in event.classification[:CARS]:
        yield f"{car.position}. {_named(car.driver_id)} ({_named(car.constructor_id)}) {_plain(car.status_text)}"


def _locked(event: LineupsLocked) -> Story:
    return Story(title="Line-ups are locked", lines=[_weekend(event.season, event.round)])


def _scored(event: RaceScored) -> Story:
    best = sorted(event.assets, key=lambda asset: (-asset.points, asset.asset_id))[:ASSETS]
    lines = [_weekend(event.season, event.round), *(f"{_named(asset.asset_id)}: {asset.points}" for asset in best)]
    return Story(title="Points are in" if event.final else "Points so far", lines=lines)


def _ranked(event: LeaderboardUpdated) -> Story:
    rows = [f"{row.rank}. {_plain(row.team_name)}: {row.total} ({row.round_points:+d})" for row in event.leaders]
    title = "Leaderboard of your league" if event.league_id else "Global leaderboard"
    return Story(title=title, lines=[_weekend(event.season, event.round), *rows])


def _priced(event: PricesChanged) -> Story:
    dearest = sorted(event.prices, key=lambda asset: (-asset.price, asset.asset_id))[:ASSETS]
    lines = [f"{_named(asset.asset_id)}: ${asset.price / TENTHS:.1f}M" for asset in dearest]
    head = f"{len(event.prices)} prices from round {event.effective_round} of {event.season} on; the highest:"
    return Story(title="Prices have changed", lines=[head, *lines])


_TELLERS: Mapping[type[Event], Callable[..., Story]] = {
    SeasonSynced: _season,
    SessionStarted: _started,
    RaceFinished: _finished,
    ResultsSynced: _results,
    ResultsAmended: _amended,
    LineupsLocked: _locked,
    RaceScored: _scored,
    LeaderboardUpdated: _ranked,
    PricesChanged: _priced,
}


def _weekend(season: int, number: int) -> str:
    return f"Season {season}, round {number}"


def _named(identifier: str) -> str:
    """Write an id as a name: ``max_verstappen`` is Max Verstappen."""
    return _plain(identifier.replace("_", " ").title())


def _plain(text: str) -> str:
    """Keep a text that others chose on its line."""
    return " ".join(text.split())


def _as_discord(told: Story, message: Message) -> dict[str, object]:
    """Build what a Discord webhook takes; nobody is mentioned whatever a team is called."""
    escape = partial(_DISCORD.sub, r"\\\1")
    embed = {
        "title": escape(told.title[:TITLE_LENGTH]),
        "description": escape("\n".join(told.lines)[:TEXT_LENGTH])[:4096],
        "timestamp": message.time,
    }
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def _as_slack(told: Story, _: Message) -> dict[str, object]:
    """Build what a Slack webhook takes; the three characters that Slack reads are escaped, as it asks."""
    title, text = (
        part.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        for part in (told.title[:TITLE_LENGTH], "\n".join(told.lines)[:TEXT_LENGTH])
    )
    return {"text": f"*{title}*\n{text}"}
