"""A subscriber to Paddock's events that loses nothing and does nothing twice. It needs nats-py and nothing else.

JetStream keeps an event until this durable has acknowledged it, so none is missed, and one can come again: after a
crash between the work and the acknowledgement, for example. So the work and the event's id are written in one
transaction, and an id that is already there is acknowledged and skipped.

Settings come from the environment; see README.md.
"""

import asyncio
import json
import logging
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

STREAM = "EVENTS"
BATCH = 32
FETCH_SECONDS = 2.0
"""How long one request for events stays open; a stop is noticed as soon as that is over."""
RETRY_SECONDS = (1, 5, 25, 60)
"""Before the second, third, fourth and every later try of an event that could not be processed."""
ACK_SECONDS = 5
PAUSE_SECONDS = 1.0

log = logging.getLogger("subscriber")


def main() -> None:
    """Subscribe until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with closing(open_store(os.environ.get("STORE", "subscriber.sqlite"))) as store:
        asyncio.run(subscribe(store))


def open_store(path: str) -> sqlite3.Connection:
    """Open this subscriber's own database: what it has done, and what came of it."""
    store = sqlite3.connect(path)
    store.executescript("""
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        CREATE TABLE IF NOT EXISTS done (event_id TEXT PRIMARY KEY);
        CREATE TABLE IF NOT EXISTS wins (race_id TEXT PRIMARY KEY, driver_id TEXT NOT NULL);
        CREATE TABLE IF NOT EXISTS classifications (
            race_id TEXT, session TEXT, version INTEGER NOT NULL, leader TEXT NOT NULL, PRIMARY KEY (race_id, session)
        );
        CREATE TABLE IF NOT EXISTS journal (event_id TEXT NOT NULL, type TEXT NOT NULL, key TEXT NOT NULL);
    """)
    return store


def race_finished(store: sqlite3.Connection, event: dict[str, Any]) -> None:
    """Note who won."""
    store.execute("INSERT OR REPLACE INTO wins VALUES (?, ?)", (event["race_id"], event["winner"]))


def results(store: sqlite3.Connection, event: dict[str, Any]) -> None:
    """Keep the newest classification of a session: versions come late and again, and the highest is the truth."""
    store.execute(
        """
        INSERT INTO classifications VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
        SET version = excluded.version, leader = excluded.leader WHERE excluded.version > version
        """,
        (event["race_id"], event["session"], event["result_version"], event["classification"][0]["driver_id"]),
    )


def note(_store: sqlite3.Connection, event: dict[str, Any]) -> None:
    """Say that something happened."""
    log.info("round %s of %s", event.get("round"), event.get("season"))


HANDLERS: dict[str, Callable[[sqlite3.Connection, dict[str, Any]], None]] = {
    "paddock.race.finished.v1": race_finished,
    "paddock.race.scored.v1": note,
    "paddock.results.synced.v1": results,
    "paddock.results.amended.v1": results,
}
"""What to do by `ce-type`. The type names the major version, so a version 2 can never be taken for a version 1."""


async def subscribe(store: sqlite3.Connection) -> None:
    """Connect, read the durable until told to stop, and close in order."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    connecting = asyncio.create_task(connect())
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait([connecting, told], return_when=asyncio.FIRST_COMPLETED)
    if not connecting.done():
        connecting.cancel()
        return
    client = await connecting
    try:
        await read(client, store, stopping)
    finally:
        await client.close()
    log.info("stopped")


async def connect() -> Client:
    """Connect and stay connected: wait for a server that is away, for ever, and notice a dead one within 30 s."""
    return await nats.connect(
        os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
        name=os.environ["DURABLE"],
        user_credentials=os.environ.get("NATS_CREDS_FILE"),
        inbox_prefix=os.environ.get("INBOX_PREFIX", "_INBOX"),
        max_reconnect_attempts=-1,
        ping_interval=10,
        error_cb=complain,
    )


async def complain(error: Exception) -> None:
    """Log what goes wrong with the connection; the client connects again by itself."""
    log.warning("connection: %r", error)


async def read(client: Client, store: sqlite3.Connection, stopping: asyncio.Event) -> None:
    """Ask for events, a batch at a time, and process them one after the other."""
    durable = await client.jetstream().pull_subscribe_bind(os.environ["DURABLE"], stream=STREAM)
    while not stopping.is_set():
        try:
            messages = await durable.fetch(BATCH, timeout=FETCH_SECONDS)
        except TimeoutError:
            continue  # nothing has happened
        except (nats.errors.Error, nats.js.errors.APIError) as error:
            log.warning("no events to be had: %r", error)
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        for message in messages:
            try:
                await (hand_back(message) if stopping.is_set() else process(message, store))
            except nats.errors.Error as error:  # this one comes again and is recognised, and so does the rest
                log.warning("the answer was lost: %r", error)
                break


async def process(message: Msg, store: sqlite3.Connection) -> None:
    """Process one delivery, and acknowledge it when its effect is on disk."""
    headers = message.headers or {}
    handle = HANDLERS.get(headers.get("ce-type", ""))
    if handle is None:
        log.error("%s is no type we know; no further try will help", headers.get("ce-type"))
        await message.term()
        return
    try:
        with store:  # one transaction: begins at the first statement, commits at the end, rolls back on an error
            if first_time(store, headers["ce-id"]):
                handle(store, json.loads(message.data))
                journal = (headers["ce-id"], headers["ce-type"], headers["ce-subject"])
                store.execute("INSERT INTO journal VALUES (?, ?, ?)", journal)
    except Exception:
        tries = message.metadata.num_delivered
        delay = RETRY_SECONDS[min(tries, len(RETRY_SECONDS)) - 1]
        log.exception("try %s of %s failed, the next comes in %s s", tries, headers["ce-id"], delay)
        await message.nak(delay=delay)
    else:
        await message.ack_sync(timeout=ACK_SECONDS)


def first_time(store: sqlite3.Connection, event_id: str) -> bool:
    """Mark an event as done; False when it was already. The mark commits together with the effect, or not at all."""
    return store.execute("INSERT OR IGNORE INTO done VALUES (?)", (event_id,)).rowcount == 1


async def hand_back(message: Msg) -> None:
    """Give an event that was not begun to whoever asks next, at once."""
    await message.nak()


if __name__ == "__main__":
    main()
