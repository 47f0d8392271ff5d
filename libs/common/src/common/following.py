"""Following the event stream: what a process keeps in memory, fed by an ephemeral ordered consumer of its own.

A gap, a silence or a restart of NATS makes a new consumer after the last sequence seen, so each event is taken once and
in order. At start the last while is replayed, so that a process that has just begun knows what the others do.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, StreamInfo

from common import cancellation, clock, topology
from common.log import get_logger
from common.settings import Settings

log = get_logger(__name__)

HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 2.5
API_SECONDS = 3.0
PATIENCE_SECONDS = 5.0
"""NATS away for longer than this at start is worth a line in the log."""
BACKOFF_SECONDS = (0.25, 0.5, 1.0, 2.0)
NAME_TAKEN = 10148
FOLLOWERS = 32


class FollowingBrokenError(Exception):
    """The consumer missed something or fell silent."""


def names(user: str, purpose: str) -> tuple[str, ...]:
    """Name what the consumers of a follower may be called.

    NATS lets a user make these and no others: with a free choice of names it could change the durables of everybody.
    """
    return tuple(f"{user}_{purpose}_{number}" for number in range(FOLLOWERS))


class Follower:
    """Takes the events of some subjects as they happen, for as long as the process lives."""

    def __init__(
        self,
        settings: Settings,
        user: str,
        purpose: str,
        *,
        subjects: Sequence[str],
        past_seconds: float,
        take: Callable[[Msg], None],
        begin: Callable[[int], None] = lambda _: None,
        flow_control: bool = False,
    ) -> None:
        """Decide what to follow.

        Args:
            settings: Where NATS is.
            user: The NATS user.
            purpose: What for; a part of the consumers' names.
            subjects: Of the events.
            past_seconds: How much of the past is replayed at first.
            take: Gets each event.
            begin: Called when following begins anew, with the sequence before the first event.
            flow_control: For events so many that NATS has to wait for us; a permission of its own.
        """
        self._settings = settings
        self._user = user
        self._purpose = purpose
        self._subjects = list(subjects)
        self._past_seconds = past_seconds
        self._take = take
        self._begin = begin
        self._flow_control = flow_control
        self._created: datetime | None = None
        self.last = 0
        """The last sequence taken."""
        self.head = 0
        """The last sequence of the stream when following began."""
        self.begun = asyncio.Event()
        """Set once events come, and until the stream is another one."""
        self.caught_up = asyncio.Event()
        """Set once what had happened when following began has been taken."""
        self.connected = False
        """True while events arrive as they happen."""

    async def run(self, _: object = None) -> None:
        """Follow until cancelled, however often NATS goes away."""
        client = await self._connect()
        failures = 0
        try:
            while True:
                cancellation.heed()
                try:
                    await self._follow(client)
                except (FollowingBrokenError, nats.errors.Error, OSError) as error:
                    log.warning("following interrupted", what=self._purpose, error=repr(error), after=self.last)
                finally:
                    failures = 0 if self.connected else failures + 1
                    self.connected = False
                await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
                if client.is_closed:
                    client = await self._connect()
        finally:
            await client.close()

    async def _connect(self) -> Client:
        """Connect however long it takes, and say so when it takes long."""
        name = f"{self._user}-{self._purpose}"
        connecting = asyncio.create_task(topology.connect(self._settings.nats_url, name, self._settings.nats_creds))
        try:
            await asyncio.wait({connecting}, timeout=PATIENCE_SECONDS)
            if not connecting.done():
                log.warning("nothing to follow while NATS is away", what=self._purpose)
            return await connecting
        except asyncio.CancelledError:
            connecting.cancel()
            with suppress(asyncio.CancelledError, nats.errors.Error, OSError):
                await (await connecting).close()
            raise

    async def _follow(self, client: Client) -> None:
        """Read events from where the last consumer ended, until something is wrong."""
        js = client.jetstream(timeout=API_SECONDS)
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        try:
            stream = await js.stream_info(topology.EVENTS)
            if self._is_another(stream):
                log.warning("the event stream was made anew", last=self.last, now=stream.state.last_seq)
                self.begun.clear()
            made = await self._attach(client, self._consumer(inbox))
            self._created = stream.created
            known = made.delivered.consumer_seq if made.delivered else 0
            if not self.begun.is_set():
                self.last = made.delivered.stream_seq if made.delivered else 0
                self.head = stream.state.last_seq
                self._begin(self.last)
                self.begun.set()
            self.connected = True
            pending = known + (made.num_pending or 0)
            for expected in itertools.count(1):
                if expected > pending:
                    self.caught_up.set()
                message = await self._next(subscription.next_msg, expected)
                self.last = message.metadata.sequence.stream
                self._take(message)
        finally:
            with suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    def _is_another(self, stream: StreamInfo) -> bool:
        """Tell whether the stream begins anew; one that the keeper made again goes on above its old sequences."""
        remade = self._created not in {None, stream.created} and stream.state.first_seq <= self.last
        return remade or stream.state.last_seq < self.last

    async def _attach(self, client: Client, config: ConsumerConfig) -> ConsumerInfo:
        """Make the consumer under a name that no other process holds; one that is left alone frees its name soon."""
        pinned = f".{config.filter_subject}" if config.filter_subject else ""
        for name in random.sample(names(self._user, self._purpose), FOLLOWERS):
            config.name = name
            request = {"stream_name": topology.EVENTS, "config": config.as_dict(), "action": "create"}
            subject = f"$JS.API.CONSUMER.CREATE.{topology.EVENTS}.{name}{pinned}"
            answer = msgspec.json.decode(
                (await client.request(subject, msgspec.json.encode(request), API_SECONDS)).data
            )
            if "error" not in answer:
                made: ConsumerInfo = ConsumerInfo.from_response(answer)
                return made
            if answer["error"].get("err_code") != NAME_TAKEN:
                raise nats.js.errors.APIError.from_error(answer["error"])
        raise FollowingBrokenError(f"all {FOLLOWERS} consumers of {self._user}_{self._purpose} are taken")

    def _consumer(self, inbox: str) -> ConsumerConfig:
        one = len(self._subjects) == 1
        config = ConsumerConfig(
            deliver_subject=inbox,
            filter_subject=self._subjects[0] if one else None,
            filter_subjects=None if one else self._subjects,
            ack_policy=AckPolicy.NONE,
            max_deliver=1,
            mem_storage=True,
            num_replicas=1,
            flow_control=self._flow_control or None,
            idle_heartbeat=HEARTBEAT_SECONDS,
            inactive_threshold=10 * HEARTBEAT_SECONDS,
        )
        if self.begun.is_set():
            config.deliver_policy, config.opt_start_seq = DeliverPolicy.BY_START_SEQUENCE, self.last + 1
        else:
            since = clock.now() - timedelta(seconds=self._past_seconds)
            config.deliver_policy, config.opt_start_time = DeliverPolicy.BY_START_TIME, since
        return config

    async def _next(self, receive: Callable[..., object], expected: int) -> Msg:
        """Return the next event; answer flow control and check heartbeats on the way."""
        while True:
            cancellation.heed()
            message: Msg = await receive(timeout=SILENCE_SECONDS)  # type: ignore[misc]
            headers = message.headers or {}
            if headers.get("Status") != "100":
                if message.metadata.sequence.consumer != expected:
                    raise FollowingBrokenError("a delivery is missing")
                return message
            if message.reply:
                await message.respond(b"")
            elif headers.get("Nats-Last-Consumer", str(expected - 1)) != str(expected - 1):
                raise FollowingBrokenError("a delivery is missing before a heartbeat")
