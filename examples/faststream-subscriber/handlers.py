"""What happens on each event. This file is yours: replace `note` by your work, and keep `transaction`.

What you write with it commits together with the event's id, so it takes effect once. What reaches outside of
the database can happen again after a crash; give the other side the event's id to recognise it by.
"""

import sqlite3

import msgspec
from models import RaceFinished, RaceScored, ResultsAmended, ResultsSynced


def note(event: msgspec.Struct, event_id: str, transaction: sqlite3.Connection) -> None:
    """Write the event down."""
    body = msgspec.json.encode(event).decode()
    transaction.execute("INSERT INTO journal VALUES (?, ?, ?)", (event_id, type(event).__name__, body))


async def race_finished(event: RaceFinished, event_id: str, transaction: sqlite3.Connection) -> None:
    """The first classification of a Grand Prix is in; it may still change."""
    note(event, event_id, transaction)


async def race_scored(event: RaceScored, event_id: str, transaction: sqlite3.Connection) -> None:
    """A round's points were computed: after each session, and again after each amendment."""
    note(event, event_id, transaction)


async def results_synced(event: ResultsSynced, event_id: str, transaction: sqlite3.Connection) -> None:
    """A session has its first classification: every car, in order."""
    note(event, event_id, transaction)


async def results_amended(event: ResultsAmended, event_id: str, transaction: sqlite3.Connection) -> None:
    """A session's classification changed after it was published: penalties, disqualifications, corrections."""
    note(event, event_id, transaction)
