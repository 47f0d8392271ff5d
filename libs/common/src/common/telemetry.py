"""Traces across HTTP, outbox, NATS and consumers, and the metrics that every service has.

A trace survives the outbox because the row keeps the W3C ``traceparent`` of the transaction that wrote it.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind
from prometheus_client import Counter, Gauge, Histogram

from common.settings import Settings

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


def setup_tracing(service: str, settings: Settings) -> None:
    """Install the process's tracer provider; without a collector spans exist but go nowhere."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    if settings.otel_exporter_otlp_endpoint:
        endpoint = settings.otel_exporter_otlp_endpoint.rstrip("/") + "/v1/traces"
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)


def current_traceparent() -> str:
    """Return the W3C header of the current span; outside of one that of a new trace, so that every event has one."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent") or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


@contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, *, traceparent: str | None = None) -> Iterator[Span]:
    """Run the block in a span, as a child of ``traceparent`` where one is given. Names are of low cardinality."""
    parent = propagate.extract({"traceparent": traceparent}) if traceparent else None
    with trace.get_tracer("paddock").start_as_current_span(name, context=parent, kind=kind) as current:
        yield current
