"""`paddock events replay`: gives a durable consumer its past again, one of ours or an outside subscriber's.

What our services have applied before is dropped by their inboxes, so for them a replay mends what was lost and does
nothing else. With ``forget`` the marks in the inbox go first: then handlers run again, and what they publish is
published again.
"""

import asyncpg
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, DeliverPolicy

from common import migrate, topology
from common.consumers import read_envelope
from common.errors import PoisonError
from common.log import get_logger
from paddock import audit
from paddock.stored import EventCommandError, Reader

log = get_logger(__name__)

PAGE = 1000
RECREATE_TRIES = 5
NOT_TO_BE_CHANGED = 10012
"""JetStream's code for a durable that is there already and begins elsewhere."""


async def replay(
    js: JetStreamContext, durable: str, start: int, *, forget: bool = False, admin_url: str = ""
) -> list[str]:
    """Let a durable begin again at ``start``; return what happened."""
    info = await _found(js, durable)
    state = (await js.stream_info(topology.EVENTS)).state
    start = max(start, state.first_seq, 1)
    if start > state.last_seq:
        raise EventCommandError(f"nothing to replay: the stream ends at {state.last_seq}")
    lines = []
    service = durable.partition("_")[0]
    ours = service in migrate.SERVICES and "_" in durable
    if forget and not ours:
        raise EventCommandError(f"{durable} is not a consumer of our services, so it has no inbox to forget")
    await audit.record(js, "events.replay", consumer=durable, from_sequence=start, forget=forget)
    if forget:
        forgotten = await _forget(js, info, start, admin_url)
        lines.append(f"{forgotten:,} marks removed from the inbox of {service}: its handler runs again")
    elif ours:
        lines.append("what the service has applied before is dropped by its inbox; only what it missed has an effect")
    await _reset(js, info, start)
    pending = (await js.consumer_info(topology.EVENTS, durable)).num_pending
    return [*lines, f"{durable} begins again at {start:,}; {pending:,} events wait for it"]


async def _found(js: JetStreamContext, durable: str) -> ConsumerInfo:
    try:
        info: ConsumerInfo = await js.consumer_info(topology.EVENTS, durable)
    except nats.js.errors.NotFoundError as error:
        names = sorted(found.name for found in await js.consumers_info(topology.EVENTS) if found.config.durable_name)
        raise EventCommandError(f"there is no durable {durable}; these are: {', '.join(names)}") from error
    if not info.config.durable_name:
        raise EventCommandError(f"{durable} is not durable: its place is in the service's table `cursors`")
    return info


async def _reset(js: JetStreamContext, info: ConsumerInfo, start: int) -> None:
    """Reset a consumer where the server can do that, from 2.14 on, else make it anew with its own configuration."""
    durable = info.name
    try:
        await js.reset_consumer(topology.EVENTS, durable, start)
    except (nats.js.errors.ConsumerInvalidResetError, nats.js.errors.ServiceUnavailableError) as error:
        log.debug("not reset but made anew", error=repr(error))
    else:
        return
    config = info.config.evolve(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=start, opt_start_time=None
    )
    for _ in range(RECREATE_TRIES):
        await js.delete_consumer(topology.EVENTS, durable)
        try:
            await js.add_consumer(topology.EVENTS, config)
        except nats.js.errors.APIError as refusal:  # its service was quicker, with a configuration of its own
            if refusal.err_code != NOT_TO_BE_CHANGED:
                raise
            continue
        return
    raise EventCommandError(f"{durable} is made again by its service all the time; stop the service for the replay")


async def _forget(js: JetStreamContext, info: ConsumerInfo, start: int, admin_url: str) -> int:
    """Remove a consumer's marks for the events from ``start`` on."""
    durable, config = info.name, info.config
    service = durable.partition("_")[0]
    subjects = config.filter_subjects or [config.filter_subject or ">"]
    connection = await asyncpg.connect(
        admin_url, timeout=10, server_settings={"role": migrate.role_of(service), "search_path": service}
    )
    removed = 0
    try:
        async with Reader(js, subjects, start) as reader:
            while messages := await reader.fetch(PAGE):
                ids = []
                for message in messages:
                    try:
                        ids.append(read_envelope(message.headers).id)
                    except PoisonError:
                        continue
                query = "DELETE FROM inbox WHERE consumer = $1 AND event_id = ANY($2)"
                removed += int((await connection.execute(query, durable, ids)).rpartition(" ")[2])
    finally:
        await connection.close()
    return removed
