"""How far a consumer is behind, as metrics. Its lag alone does not tell of one that is stuck: the floor's age does."""

import time

from nats.js.api import ConsumerInfo

from common import telemetry

MEASURES = (
    telemetry.CONSUMER_PENDING,
    telemetry.CONSUMER_ACK_PENDING,
    telemetry.CONSUMER_REDELIVERED,
    telemetry.CONSUMER_FLOOR_AGE,
)


class LagMeter:
    """Exports what JetStream says of consumers, and remembers since when their floors have not moved."""

    def __init__(self) -> None:
        self._floors: dict[str, tuple[int, float]] = {}

    def measure(self, consumer: str, info: ConsumerInfo) -> None:
        """Export one consumer."""
        open_deliveries = (info.num_pending or 0) + (info.num_ack_pending or 0)
        telemetry.CONSUMER_PENDING.labels(consumer).set(info.num_pending or 0)
        telemetry.CONSUMER_ACK_PENDING.labels(consumer).set(info.num_ack_pending or 0)
        telemetry.CONSUMER_REDELIVERED.labels(consumer).set(info.num_redelivered or 0)
        floor = info.ack_floor.stream_seq if info.ack_floor else 0
        known, since = self._floors.get(consumer, (-1, 0.0))
        if floor != known or not open_deliveries:
            since = time.monotonic()
            self._floors[consumer] = (floor, since)
        telemetry.CONSUMER_FLOOR_AGE.labels(consumer).set(time.monotonic() - since)

    def forget(self, consumer: str) -> None:
        """Export a consumer no more: it is gone."""
        self._floors.pop(consumer, None)
        for gauge in MEASURES:
            gauge.remove(consumer)
