from datetime import timedelta

import pytest

from auth import limits
from auth.settings import AuthSettings
from common.settings import SettingsError


@pytest.mark.parametrize(("text", "interval"), [("20/60", 3), ("1/3600", 3600), ("3/1", 1 / 3)])
def test_a_limit_is_a_count_and_a_period(text: str, interval: float) -> None:
    limit = limits.read(text)
    assert limit is not None
    assert limit.interval == timedelta(seconds=interval)


def test_nought_is_no_limit() -> None:
    assert limits.read("0") is None


@pytest.mark.parametrize(
    "text", ["", "20", "20/", "/60", "0/60", "20/0", "-1/60", "20/60\n", "1.5/60", "20 / 60", "9999999/1"]
)
def test_what_is_no_limit_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="not a limit"):
        limits.read(text)
    if text:
        with pytest.raises(SettingsError, match="AUTH_LIMIT_LOGIN_ADDRESS"):
            AuthSettings.load({"AUTH_LIMIT_LOGIN_ADDRESS": text})


def test_every_limit_has_a_default_that_can_be_read() -> None:
    settings = AuthSettings()
    names = [name for name in settings.__struct_fields__ if name.startswith("limit_")]
    assert len(names) > 10
    assert all(limits.read(getattr(settings, name)) for name in names)


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        (None, "unknown"),
        ("nonsense", "unknown"),
    ],
)
def test_an_address_counts_as_what_one_customer_has(address: str | None, subject: str) -> None:
    assert limits.of_address(address) == subject
