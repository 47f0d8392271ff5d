"""The limits of the upstream."""

import asyncio

import pytest

from ingest.budget import HOUR, SECOND, Budget, BudgetSpentError, pause


def test_the_fifth_request_waits_until_the_first_is_a_second_old() -> None:
    taken = [10.0, 10.1, 10.2, 10.3]
    assert pause(taken[:3], 10.4, 4, 500) == 0
    assert pause(taken, 10.4, 4, 500) == pytest.approx(SECOND - 0.4)
    assert pause(taken, 10.0 + SECOND, 4, 500) == 0


def test_the_hour_s_requests_wait_until_the_first_is_an_hour_old() -> None:
    taken = [float(second) for second in range(500)]
    assert pause(taken, 600.0, 4, 500) == pytest.approx(HOUR - 600)
    assert pause(taken, HOUR + 1, 4, 500) == 0


async def test_no_window_of_a_second_holds_more_than_the_limit() -> None:
    budget = Budget(5, 500)
    clock = asyncio.get_running_loop().time
    instants: list[float] = []

    async def ask() -> None:
        await budget.take()
        instants.append(clock())

    await asyncio.gather(*(ask() for _ in range(11)))
    instants.sort()
    assert all(later - earlier > 1.0 for earlier, later in zip(instants, instants[5:], strict=False))


async def test_a_spent_hour_is_an_error_and_not_a_long_wait() -> None:
    budget = Budget(4, 2)
    await budget.take()
    await budget.take()
    with pytest.raises(BudgetSpentError):
        await budget.take()
