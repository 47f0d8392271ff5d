"""The product's own consumers, one at a time."""

import importlib
import importlib.util

from common import migrate
from common.consumers import Consumer, Consumers


def services() -> list[str]:
    """Name the services that consume."""
    return [service for service in migrate.SERVICES if importlib.util.find_spec(f"{service}.consumers")]


def consumers_of(service: str) -> Consumers:
    """Give the registry of a service."""
    registry = importlib.import_module(f"{service}.consumers").consumers
    assert isinstance(registry, Consumers)
    return registry


def every_consumer() -> list[tuple[str, Consumer]]:
    """Give every consumer of every service."""
    return [(service, consumer) for service in services() for consumer in consumers_of(service).all]


def only(service: str, durable: str) -> Consumers:
    """Give one consumer, in a registry of its own."""
    alone = Consumers(service)
    alone.all = [consumer for consumer in consumers_of(service).all if consumer.durable == durable]
    return alone
