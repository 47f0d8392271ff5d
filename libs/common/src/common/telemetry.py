"""Traces across HTTP, outbox, NATS and consumers, and the metrics that every service has.

A trace survives the outbox because the row keeps the W3C ``traceparent`` of the transaction that wrote it.
"""

import secrets
from asyncio import Future
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from common.settings import Settings

disable_created_metrics()  # type: ignore[no-untyped-call] # they would be a third of all series, and nobody asks when a counter was made

OUTBOX_PENDING = Gauge("outbox_pending", "Events that are due and not yet published")
OUTBOX_OLDEST = Gauge("outbox_oldest_unpublished_age_seconds", "How long the oldest due event has waited")
OUTBOX_PUBLISHED = Counter("outbox_published_total", "Events that JetStream acknowledged")
OUTBOX_FAILURES = Counter("outbox_publish_failures_total", "Publishes that were refused or not acknowledged in time")
OUTBOX_PRUNED = Counter("outbox_pruned_total", "Published events deleted after the stream had forgotten them")
INBOX_PRUNED = Counter("inbox_pruned_total", "Marks of consumed events deleted when these could not come again")
EVENTS_CONSUMED = Counter("events_consumed_total", "Deliveries by what became of them", ["consumer", "outcome"])
EVENT_SECONDS = Histogram("event_process_duration_seconds", "Time to process one delivery", ["consumer"])
EVENT_LATENCY = Histogram(
    "event_latency_seconds",
    "From the fact to its committed effect",
    ["subject"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
CONSUMER_PENDING = Gauge("consumer_pending", "Events that wait for a consumer", ["consumer"])
CONSUMER_ACK_PENDING = Gauge("consumer_ack_pending", "Deliveries that are not acknowledged", ["consumer"])
CONSUMER_REDELIVERED = Gauge("consumer_redelivered", "Open deliveries that came more than once", ["consumer"])
CONSUMER_FLOOR_AGE = Gauge("consumer_ack_floor_age_seconds", "Since work last ended while there is some", ["consumer"])
CONSUMER_DRIFT = Gauge("consumer_config_drift", "1 while a durable is not as the code says", ["consumer"])
REQUESTS = Counter("paddock_requests_total", "Requests that were answered", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "paddock_request_duration_seconds",
    "From the request to the end of its answer",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1, 3, 10),
)
LOOP_LAG = Gauge("event_loop_lag_seconds", "The longest that the event loop was late within the last half minute")
TASK_RESTARTS = Counter("task_restarts_total", "Background tasks that ended and were started again", ["task"])
POOL_IN_USE = Gauge("database_pool_in_use", "Connections of the pool that are in use")
POOL_WAIT = Histogram(
    "database_pool_wait_seconds",
    "Time until the pool gave a connection that works",
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1, 2),
)
BROKER_CONNECTED = Gauge("broker_connected", "1 while the consumers are connected to NATS")
CONSUMERS_RECREATED = Counter("consumers_recreated_total", "Durable consumers that had vanished and were made anew")


LINKS = 32
"""Of a span that many traces have caused; the first of them is its parent."""


class Collected(TracerProvider):
    """Makes spans that somebody collects."""


def setup_tracing(service: str, settings: Settings) -> None:
    """Install the process's tracer provider; without a collector spans are ids for the logs, and recorded by nobody."""
    resource = Resource.create({"service.name": service})
    provider = TracerProvider(resource=resource, sampler=ALWAYS_OFF)
    if settings.otel_exporter_otlp_endpoint:
        endpoint = settings.otel_exporter_otlp_endpoint.rstrip("/") + "/v1/traces"
        provider = Collected(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)


def current_traceparent() -> str:
    """Return the W3C header of the current span; outside of one that of a new trace, so that every event has one."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent") or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


@contextmanager
def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, *, traceparent: str | None = None, more: Sequence[str] = ()
) -> Iterator[Span]:
    """Run the block in a span, as a child of ``traceparent`` where one is given, linked to the ``more`` causes it has.

    Names are of low cardinality.
    """
    links = [Link(trace.get_current_span(_remote(one)).get_span_context()) for one in more[:LINKS]]
    tracer = trace.get_tracer("paddock")
    with tracer.start_as_current_span(name, context=_remote(traceparent), kind=kind, links=links) as current:
        yield current


def publish_span(subject: str, traceparent: str | None) -> tuple[Span, str] | None:
    """Begin the span of one event on its way to JetStream; return it with its W3C header.

    Nothing where nobody collects spans: it would cost each event more than its deduplication id does.
    """
    if not isinstance(trace.get_tracer_provider(), Collected):
        return None
    begun = trace.get_tracer("paddock").start_span(
        f"publish {subject}", context=_remote(traceparent), kind=SpanKind.PRODUCER
    )
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(begun))
    return begun, carrier["traceparent"]


def end_span(begun: Span, done: Future[Any]) -> None:
    """End a span with what it waited for."""
    if done.cancelled() or done.exception():
        begun.set_status(StatusCode.ERROR)
    begun.end()


def _remote(traceparent: str | None) -> Context | None:
    return propagate.extract({"traceparent": traceparent}) if traceparent else None
