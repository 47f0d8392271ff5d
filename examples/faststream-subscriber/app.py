"""A FastStream application for events of Paddock: `HANDLERS` says which.

Written by `paddock events generate-app` from an AsyncAPI document. What you change is `handlers.py`; this file,
`models.py` and `store.py` can be written anew when the document has new events.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

import handlers
import models
import msgspec
import nats.errors
import nats.js.errors
from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.annotations import NatsMessage
from store import Handler, Store

STREAM = "EVENTS"
DURABLE = os.environ["DURABLE"]
INBOX_PREFIX = os.environ.get("INBOX_PREFIX", "_INBOX")
FETCH_SECONDS = 5.0
RETRY_SECONDS = (1, 5, 25, 60)
"""Before the second, third, fourth and every later try of an event that could not be processed."""
WATCH_SECONDS = 30
GRACE_SECONDS = 10

HANDLERS: dict[str, tuple[type[Any], Handler]] = {
    "paddock.race.finished.v1": (models.RaceFinished, handlers.race_finished),
    "paddock.race.scored.v1": (models.RaceScored, handlers.race_scored),
    "paddock.results.synced.v1": (models.ResultsSynced, handlers.results_synced),
    "paddock.results.amended.v1": (models.ResultsAmended, handlers.results_amended),
}
"""Model and handler by `ce-type`, which names the major version."""

log = logging.getLogger("subscriber")
store = Store(os.environ.get("STORE", "subscriber.sqlite"))


async def keep_bytes(message: NatsMessage) -> bytes:
    """Leave decoding to `receive`, where a malformed body is told from a failing handler."""
    return message.body


async def complain(error: Exception) -> None:
    """Log what goes wrong with the connection, a refused permission above all; it connects again by itself."""
    log.warning("connection: %r", error)


broker = NatsBroker(
    os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
    name=DURABLE,
    user_credentials=os.environ.get("NATS_CREDS_FILE"),
    inbox_prefix=INBOX_PREFIX,
    max_reconnect_attempts=-1,  # a finite number freezes the event loop once it is used up
    ping_interval=10,
    error_cb=complain,
    graceful_timeout=GRACE_SECONDS,
    ack_policy=AckPolicy.MANUAL,  # the default would throw an event away at the first error
    decoder=keep_bytes,
    logger=None,
)
app = FastStream(broker)


@broker.subscriber(
    "race.finished",  # the durable's own filters say what comes; it exists, so this is not used
    durable=DURABLE,
    stream=JStream(STREAM, declare=False),  # declaring would overwrite the stream's configuration
    pull_sub=PullSub(batch_size=1, timeout=FETCH_SECONDS),  # one at a time keeps the order
    inbox_prefix=f"{INBOX_PREFIX}.".encode(),  # the broker's does not reach its subscribers
    ack_policy=AckPolicy.MANUAL,
)
async def receive(message: NatsMessage) -> None:
    """Process one delivery, and acknowledge it when its effect is on disk."""
    kind = message.headers.get("ce-type", "")
    if kind not in HANDLERS:
        log.error("%s is no type we know; no further try will help", kind)
        await message.reject()
        return
    model, handle = HANDLERS[kind]
    try:
        event = msgspec.json.decode(message.body, type=model)
    except msgspec.MsgspecError:
        log.exception("the body is no %s; no further try will help", kind)
        await message.reject()
        return
    try:
        await store.once(message.headers["ce-id"], event, handle)
    except Exception:
        tries = message.raw_message.metadata.num_delivered
        delay = RETRY_SECONDS[min(tries, len(RETRY_SECONDS)) - 1]
        log.exception("try %s failed, the next comes in %s s", tries, delay)
        await answer(lambda: message.nack(delay=delay))
    else:
        await answer(message.ack_sync)


async def answer(call: Callable[[], Awaitable[None]]) -> None:
    """Tell the server; when that fails the event comes again, and its id is found."""
    try:
        await call()
    except nats.errors.Error as error:
        log.warning("the server was not told: %r", error)


async def watch() -> None:
    """End when the durable is gone: FastStream would wait for its events in silence, for ever."""
    jetstream = (await broker.connect()).jetstream()
    while True:
        try:
            await jetstream.consumer_info(STREAM, DURABLE)
        except nats.js.errors.NotFoundError:
            app.exit()
            return
        except nats.errors.Error as error:
            log.warning("the durable could not be looked at: %r", error)
        await asyncio.sleep(WATCH_SECONDS)


async def main() -> None:
    """Check that the durable is there, then run until SIGTERM or Ctrl-C."""
    client = await broker.connect()
    missing = f"the stream {STREAM} has no durable {DURABLE}; ask for it to be made"
    try:
        await client.jetstream().consumer_info(STREAM, DURABLE)
    except nats.js.errors.NotFoundError:
        raise SystemExit(missing) from None
    watching = asyncio.create_task(watch())
    try:
        await app.run()
    except nats.errors.ConnectionReconnectingError:
        log.warning("stopped while the server was away")
    store.close()
    if watching.done():
        raise SystemExit(missing)
    watching.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(main())
