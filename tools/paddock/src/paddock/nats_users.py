"""What each deployable may do on NATS, derived from what its code publishes and consumes.

A service publishes the events that are its own and the letters of its own durables, calls the JetStream API for its own
consumers, and reads replies to itself. Nobody but the operator's user may change a stream.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from common import denials, following, migrate, topology
from common.consumers import Consumer, Consumers
from common.contracts import REGISTRY
from common.contracts.auth import SessionRevoked
from gateway import feed
from paddock.nats_authority import Permissions

GATEWAY = "gateway"
API = "$JS.API"


def users() -> dict[str, Permissions]:
    """Return the permissions of every deployable that connects to NATS, by the name of its user."""
    return {service: of_service(service) for service in migrate.SERVICES} | {GATEWAY: of_gateway()}


def of_service(service: str) -> Permissions:
    """Derive a service's permissions from its events and from its `consumers.py`, where it has one."""
    own = [subject for subject, kind in REGISTRY.items() if kind.source == service]
    reads = registry(service)
    durables = reads.durables() if reads else []
    publish = [*own, f"{API}.STREAM.INFO.{topology.EVENTS}"]
    for consumer in durables:
        publish += of_consumer(consumer)
    publish += of_denials(service)
    return Permissions(tuple(publish), (inbox_of(service),))


def of_gateway() -> Permissions:
    """Derive the gateway's: the short-lived consumers of its live feed, under names that nobody else's durable has.

    JetStream pins the filter of a consumer in the subject of the request only where there is one filter, so that this
    user could read other events than those it does.
    """
    publish = [f"{API}.STREAM.INFO.{topology.EVENTS}", *flow_control(topology.EVENTS, "*")]
    names = following.names(GATEWAY, feed.PURPOSE)
    publish += [f"{API}.CONSUMER.CREATE.{topology.EVENTS}.{name}" for name in names]
    publish += of_denials(GATEWAY)
    return Permissions(tuple(publish), (inbox_of(GATEWAY),))


def registry(service: str) -> Consumers | None:
    """The consumers that a service declares; none where it declares none."""
    if find_spec(f"{service}.consumers") is None:
        return None
    found = import_module(f"{service}.consumers").consumers
    if not isinstance(found, Consumers):
        raise TypeError(f"{service}.consumers.consumers is no registry of consumers")
    return found


def of_denials(user: str) -> Iterator[str]:
    """Yield what hearing of ended sessions takes: short-lived consumers of the user's own, of that one subject."""
    for name in following.names(user, denials.PURPOSE):
        yield f"{API}.CONSUMER.CREATE.{topology.EVENTS}.{name}.{SessionRevoked.subject}"


def of_consumer(consumer: Consumer) -> Iterator[str]:
    """Yield what reading one durable takes, and setting aside what it cannot process."""
    yield f"dlq.{consumer.durable}.*"
    for name in consumer.names():
        place = f"{consumer.stream}.{name}"
        pinned = f".{consumer.filters[0]}" if len(consumer.filters) == 1 else ""
        yield f"{API}.CONSUMER.CREATE.{place}{pinned}"
        yield from reading(consumer.stream, name)
        if name != consumer.durable:  # a lane of an ordered consumer, which is made anew at each start
            yield f"{API}.CONSUMER.DELETE.{place}"


def reading(stream: str, consumer: str) -> Iterator[str]:
    """Yield what reading a consumer that exists takes."""
    yield f"{API}.CONSUMER.INFO.{stream}.{consumer}"
    yield f"{API}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
    yield f"$JS.ACK.{stream}.{consumer}.>"
    yield f"$JS.ACK.*.*.{stream}.{consumer}.>"  # the form of servers with the feature js_ack_fc_v2


def flow_control(stream: str, consumer: str) -> Iterator[str]:
    """Yield what answering a push consumer's flow control takes, in both forms of the subject."""
    yield f"$JS.FC.{stream}.{consumer}.*"
    yield f"$JS.FC.*.*.{stream}.{consumer}.*"


def inbox_of(user: str) -> str:
    """Where replies to a user come; `common.topology.connection_options` asks for them there."""
    return f"_INBOX_{user}.>"
