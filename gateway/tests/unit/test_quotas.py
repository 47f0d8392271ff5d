"""The limits of one gateway alone, and what a client is told."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.quotas import LOCAL_SUBJECTS, MICRO, Alone, Demand, Policy, Quota, Verdict, policies_of
from gateway.settings import GatewaySettings


def demand(size: int, subject: str = "192.0.2.7", name: str = "default") -> Demand:
    return Demand(Policy(name, size, size), subject)


def test_a_quota_is_had_at_once_and_then_comes_back_evenly() -> None:
    alone, wanted = Alone(), [demand(6)]
    assert [alone.take(wanted, 0).retry_after for _ in range(6)] == [0] * 6
    refused = alone.take(wanted, 0)
    assert (refused.retry_after, refused.quotas[0].remaining) == (10, 0)
    assert alone.take(wanted, 10 * MICRO - 1).retry_after == 1
    assert alone.take(wanted, 10 * MICRO).retry_after == 0
    assert alone.take(wanted, 10 * MICRO).retry_after == 10


@given(st.lists(st.integers(0, 30 * MICRO), min_size=1, max_size=200), st.integers(1, 50))
def test_no_minute_has_more_than_twice_the_quota_and_no_moment_more_than_it(pauses: Sequence[int], size: int) -> None:
    alone, now, passed = Alone(), 0, []
    for pause in pauses:
        now += pause
        if not alone.take([demand(size)], now).retry_after:
            passed.append(now)
    for begin in passed:
        assert len([at for at in passed if begin <= at < begin + 60 * MICRO]) <= 2 * size
        assert passed.count(begin) <= size


@given(st.lists(st.integers(0, 5 * MICRO), min_size=1, max_size=100), st.integers(1, 20))
def test_who_waits_as_told_is_not_refused_again(pauses: Sequence[int], size: int) -> None:
    alone, now = Alone(), 0
    for pause in pauses:
        now += pause
        verdict = alone.take([demand(size)], now)
        if verdict.retry_after:
            now += verdict.retry_after * MICRO
            assert alone.take([demand(size)], now).retry_after == 0


def test_all_quotas_are_charged_or_none() -> None:
    alone = Alone()
    large, small = demand(10), demand(1, "user", "user")
    assert alone.take([large, small], 0).retry_after == 0
    refused = alone.take([large, small], 0)
    assert refused.retry_after == 60
    assert [quota.remaining for quota in refused.quotas] == [9, 0]


def test_subjects_do_not_share_and_memory_is_bounded() -> None:
    alone = Alone()
    for number in range(LOCAL_SUBJECTS + 10):
        assert alone.take([demand(1, str(number))], 0).retry_after == 0
    assert len(alone._due) == LOCAL_SUBJECTS


def test_credentials_shrink_without_redis_and_the_rest_does_not() -> None:
    policies = policies_of(GatewaySettings())
    assert (policies["credentials"].per_minute, policies["credentials"].alone_per_minute) == (10, 5)
    assert (policies["default"].per_minute, policies["default"].alone_per_minute) == (100, 100)
    assert policies["analytics"].per_minute == 60
    assert policies_of(GatewaySettings(gateway_limit_credentials_per_minute=0))["credentials"].per_minute == 0


def test_quotas_are_told_as_structured_fields() -> None:
    verdict = Verdict([Quota("default", 100, 42, 11), Quota("user", 200, 199, 1)], 0)
    assert verdict.headers() == [
        (b"ratelimit-policy", b'"default";q=100;w=60, "user";q=200;w=60'),
        (b"ratelimit", b'"default";r=42;t=11, "user";r=199;t=1'),
    ]
