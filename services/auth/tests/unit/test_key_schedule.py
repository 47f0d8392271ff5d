"""When a key is published, signs and goes."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import msgspec
import pytest

from auth.key_schedule import is_due, over, signing

NOW = datetime(2026, 3, 8, 4, tzinfo=UTC)
KEPT = timedelta(hours=1)


class Key(msgspec.Struct, frozen=True):
    name: str
    signs_from: datetime


def key(name: str, **ago: float) -> Key:
    return Key(name, NOW - timedelta(**ago))


OLDEST, OLD, CURRENT, NEXT = (
    key("oldest", hours=9),
    key("old", hours=2),
    key("current", minutes=30),
    key("next", hours=-1),
)


@pytest.mark.parametrize("keys", permutations([OLD, CURRENT, NEXT]))
def test_the_last_that_has_begun_signs(keys: tuple[Key, ...]) -> None:
    assert signing(keys, NOW) == CURRENT
    assert signing(keys, NEXT.signs_from) == NEXT


def test_before_the_first_has_begun_it_signs_all_the_same() -> None:
    assert signing([NEXT], NOW) == NEXT


def test_another_is_due_when_the_newest_is_old_and_not_while_one_waits() -> None:
    age = timedelta(minutes=30)
    assert is_due([], NOW, age)
    assert is_due([CURRENT, OLD], NOW, age)
    assert not is_due([CURRENT, OLD], NOW, age + timedelta(microseconds=1))
    assert not is_due([CURRENT, OLD, NEXT], NOW, age)


@pytest.mark.parametrize("keys", permutations([OLDEST, OLD, CURRENT, NEXT]))
def test_a_key_goes_when_no_token_of_its_own_can_live_any_more(keys: tuple[Key, ...]) -> None:
    assert over(keys, NOW, KEPT) == [OLDEST]
    assert over(keys, NOW + timedelta(minutes=30), KEPT) == [OLDEST, OLD]
    assert over([CURRENT], NOW + timedelta(days=99), KEPT) == []
