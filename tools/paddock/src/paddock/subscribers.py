"""People outside who read events: a durable consumer of their own each, and credentials that allow reading it.

A subscriber can ask for its durable's next events and acknowledge them. It cannot make consumers, publish, or see
what goes to others. Removing one cuts its connection off. Nothing is done without a line in the stream `AUDIT` first.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.kv import KeyValue

from common import clock, migrate, topology
from common.contracts import REGISTRY
from paddock import audit
from paddock.nats_authority import CLAIMS_UPDATE, OPERATOR_USER, SYSTEM_USER, Authority, Permissions
from paddock.nats_keys import from_credentials
from paddock.nats_users import GATEWAY, inbox_of, reading

BUCKET = "SUBSCRIBERS"
NAME = re.compile(r"[a-z][a-z0-9-]{1,30}")
OURS = frozenset({*migrate.SERVICES, GATEWAY, OPERATOR_USER, SYSTEM_USER})
PERSONAL_ROOTS = frozenset({"user"})
"""First words of the events that tell about people, which an outsider gets only when the operator says so."""
TOKEN = re.compile(r"[a-zA-Z0-9_-]+")

ACK_WAIT_SECONDS = 30
MAX_ACK_PENDING = 256
MAX_DELIVER = 10
MAX_SUBJECTS = 32
MAX_SUBSCRIBERS = 1000
CONNECT_SECONDS = 5
PUSH_SECONDS = 5


class SubscriberError(Exception):
    """A subscriber cannot be added or removed; the message says why and what to do."""


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a subscriber; kept in the bucket `SUBSCRIBERS` under its name."""

    name: str
    subjects: list[str]
    public_key: str
    """Of its NATS user."""
    created: datetime


def check_name(name: str) -> None:
    """Raise `SubscriberError` for a name that is malformed or one of ours."""
    if not NAME.fullmatch(name):
        raise SubscriberError(f"{name!r} is no name: 2 to 31 of a-z, 0-9 and -, and a letter first")
    if name in OURS:
        raise SubscriberError(f"{name} is one of Paddock's own; choose another name")


def check_subjects(subjects: Sequence[str], *, personal: bool) -> list[str]:
    """Return the subjects, each once; raise `SubscriberError` for one that no event has, or that is not open."""
    chosen = list(dict.fromkeys(subject.strip() for subject in subjects if subject.strip()))
    if not 1 <= len(chosen) <= MAX_SUBJECTS:
        raise SubscriberError(f"name 1 to {MAX_SUBJECTS} subjects, for example: --subjects 'race.>,results.>'")
    for subject in chosen:
        words = subject.split(".")
        if not all(TOKEN.fullmatch(word) or word == "*" or (word == ">" and word is words[-1]) for word in words):
            raise SubscriberError(
                f"{subject!r} is no subject: words between dots, `*` for one of them, `>` for the rest"
            )
        if words[0] in (PERSONAL_ROOTS | {"*", ">"}) and not personal:
            raise SubscriberError(
                f"{subject!r} includes events about people ({', '.join(sorted(PERSONAL_ROOTS))}.>); "
                "name others, or say --include-personal"
            )
        if not any(matches(subject, event) for event in REGISTRY):
            raise SubscriberError(f"no event has the subject {subject!r}; docs/events.md lists them")
    for subject in chosen:
        if wider := next((other for other in chosen if other != subject and overlap(subject, other)), None):
            raise SubscriberError(f"{subject!r} and {wider!r} overlap; JetStream wants them apart")
    return chosen


def matches(pattern: str, subject: str) -> bool:
    """Tell whether a subject without wildcards falls under a pattern."""
    words, wanted = subject.split("."), pattern.split(".")
    if wanted[-1] == ">":
        return len(words) >= len(wanted) and _same(wanted[:-1], words)
    return len(words) == len(wanted) and _same(wanted, words)


def overlap(one: str, other: str) -> bool:
    """Tell whether a subject can fall under both patterns."""
    for mine, yours in zip(one.split("."), other.split("."), strict=False):
        if ">" in (mine, yours):
            return True
        if mine != yours and "*" not in (mine, yours):
            return False
    return one.count(".") == other.count(".")


def _same(pattern: Sequence[str], words: Sequence[str]) -> bool:
    return all(wanted in ("*", word) for wanted, word in zip(pattern, words, strict=False))


class Subscribers:
    """The subscribers of one account, for an operator who has its keys."""

    def __init__(self, js: JetStreamContext, authority: Authority, url: str) -> None:
        self._js = js
        self._authority = authority
        self._url = url

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, authority: Authority, url: str) -> AsyncIterator["Subscribers"]:
        """Connect as the operator for the length of the block."""
        async with connected(authority, url, OPERATOR_USER) as client:
            yield cls(client.jetstream(), authority, url)

    async def add(
        self,
        name: str,
        subjects: Sequence[str],
        *,
        new: bool = False,
        max_deliver: int = MAX_DELIVER,
        personal: bool = False,
    ) -> list[str]:
        """Make durable, user and record; return the lines that a subscriber needs.

        ``new`` begins with what is published from now on, else with all that the stream holds. An event that was
        delivered ``max_deliver`` times without an acknowledgement is given up, and the dead letters tell of it.
        """
        check_name(name)
        chosen = check_subjects(subjects, personal=personal)
        if not 1 <= max_deliver <= 1000:  # noqa: PLR2004 - said in the next line
            raise SubscriberError("--max-deliver takes 1 to 1000")
        records = await self._records()
        if len(await self._names(records)) >= MAX_SUBSCRIBERS:
            raise SubscriberError(f"there are {MAX_SUBSCRIBERS} subscribers already")
        if await self._find(records, name) is not None or await self._durable(name) is not None:
            raise SubscriberError(f"there is a subscriber {name} already; remove it first, or choose another name")
        await audit.record(self._js, "subscribers.add", name=name, subjects=chosen, personal=personal)
        file, public = self._authority.enlist(
            name, Permissions(tuple(reading(topology.EVENTS, name)), (inbox_of(name),))
        )
        record = Subscriber(name=name, subjects=chosen, public_key=public, created=clock.now())
        await records.put(name, msgspec.json.encode(record))
        await self._js.add_consumer(topology.EVENTS, _config(name, chosen, new=new, max_deliver=max_deliver))
        return [
            f"{name} may read {', '.join(chosen)}; its credentials, a secret: {file}",
            f"url: {self._url}",
            f"stream: {topology.EVENTS}",
            f"durable: {name}",
            f"inbox prefix: {inbox_of(name).removesuffix('.>')}",
        ]

    async def all(self) -> list[tuple[Subscriber, ConsumerInfo | None]]:
        """Every subscriber with its durable, or None where somebody has deleted that."""
        records = await self._records()
        found = [await self._find(records, name) for name in await self._names(records)]
        return [(record, await self._durable(record.name)) for record in found if record is not None]

    async def remove(self, name: str) -> None:
        """Cut the subscriber off and forget it; what an interrupted `add` has left goes too."""
        check_name(name)
        records = await self._records()
        record, durable = await self._find(records, name), await self._durable(name)
        public = record.public_key if record else self._authority.public_key_of(name)
        if public is None and durable is None:
            raise SubscriberError(f"there is no subscriber {name}")
        await audit.record(self._js, "subscribers.remove", name=name, key=public)
        if public is not None:
            await push(self._authority, self._url, self._authority.revoke(public, int(clock.now().timestamp())))
        if durable is not None:
            await self._js.delete_consumer(topology.EVENTS, name)
        await records.purge(name)
        self._authority.dismiss(name)

    async def _records(self) -> KeyValue:
        try:
            return await self._js.key_value(BUCKET)
        except nats.js.errors.BucketNotFoundError:
            replicas = (await self._js.stream_info(topology.EVENTS)).config.num_replicas
            return await self._js.create_key_value(bucket=BUCKET, history=1, replicas=replicas or 1)

    async def _names(self, records: KeyValue) -> list[str]:
        try:
            return sorted(await records.keys())
        except nats.js.errors.NoKeysError:
            return []

    async def _find(self, records: KeyValue, name: str) -> Subscriber | None:
        try:
            entry = await records.get(name)
        except nats.js.errors.KeyNotFoundError:
            return None
        return msgspec.json.decode(entry.value or b"", type=Subscriber)

    async def _durable(self, name: str) -> ConsumerInfo | None:
        try:
            found: ConsumerInfo = await self._js.consumer_info(topology.EVENTS, name)
        except nats.js.errors.NotFoundError:
            return None
        return found


async def push(authority: Authority, url: str, token: str) -> None:
    """Tell the server an account's new token; raise `SubscriberError` when it does not take it."""
    async with connected(authority, url, SYSTEM_USER) as client:
        try:
            answer = await client.request(CLAIMS_UPDATE, token.encode(), timeout=PUSH_SECONDS)
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError) as error:
            raise SubscriberError("NATS did not take the account's new token; is its resolver of type full?") from error
    body = json.loads(answer.data)
    if "error" in body:
        raise SubscriberError(f"NATS refused the account's new token: {body['error'].get('description')}")


@contextlib.asynccontextmanager
async def connected(authority: Authority, url: str, user: str) -> AsyncIterator[Client]:
    """Connect as one of the operator's users; raise `SubscriberError` when NATS does not answer."""
    credentials = authority.credentials_of(user).read_text(encoding="utf-8")
    from_credentials(credentials)
    try:
        client = await asyncio.wait_for(topology.connect(url, user, credentials), CONNECT_SECONDS)
    except (TimeoutError, nats.errors.Error) as error:
        raise SubscriberError(f"NATS at {url} did not let {user} in; check NATS_URL and PADDOCK_NATS_DIR") from error
    try:
        yield client
    finally:
        await client.close()


def _config(name: str, subjects: list[str], *, new: bool, max_deliver: int) -> ConsumerConfig:
    return ConsumerConfig(
        name=name,
        durable_name=name,
        description="a subscriber's",
        filter_subject=subjects[0] if len(subjects) == 1 else None,
        filter_subjects=subjects if len(subjects) > 1 else None,
        deliver_policy=DeliverPolicy.NEW if new else DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_deliver=max_deliver,
        max_ack_pending=MAX_ACK_PENDING,
    )
