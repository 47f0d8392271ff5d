"""When a signing key is published, when it signs and when it goes.

    published ──► signs_from ──► the next one's signs_from ──► so long later: gone
              overlap           signs                     still verifies

A key is published before it signs, so that everybody has it when its first token comes; it stays as long as a token
may live after it signed its last.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol, TypeVar


class Scheduled(Protocol):
    """A key with its time."""

    @property
    def signs_from(self) -> datetime:
        """When it begins to sign."""


KeyT = TypeVar("KeyT", bound=Scheduled)


def in_order(keys: Sequence[KeyT]) -> list[KeyT]:
    """Sort by when they sign."""
    return sorted(keys, key=lambda key: key.signs_from)


def signing(keys: Sequence[KeyT], now: datetime) -> KeyT:
    """Return the key that signs: the last that has begun to, or the first of all when none has."""
    ordered = in_order(keys)
    begun = [key for key in ordered if key.signs_from <= now]
    return begun[-1] if begun else ordered[0]


def is_due(keys: Sequence[KeyT], now: datetime, age: timedelta) -> bool:
    """Tell whether the newest key is so old that another has to be published."""
    return not keys or in_order(keys)[-1].signs_from + age <= now


def over(keys: Sequence[KeyT], now: datetime, kept: timedelta) -> list[KeyT]:
    """Return the keys that were replaced so long ago that no token of theirs can be valid."""
    ordered = in_order(keys)
    return [key for key, successor in pairwise(ordered) if successor.signs_from + kept <= now]
