"""The client's address is the peer's, unless proxies of ours in front say otherwise."""

from typing import Any

import pytest

from common.addresses import client_address, limit_subject


def scope(peer: str, *forwarded: str) -> Any:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"client": (peer, 1), "headers": headers}


@pytest.mark.parametrize("forged", ["203.0.113.9", "203.0.113.9, 198.51.100.1", "127.0.0.1", "::1", "", "x"])
def test_without_proxies_nothing_a_client_sends_changes_its_address(forged: str) -> None:
    assert client_address(scope("192.0.2.7", forged), 0) == "192.0.2.7"


@pytest.mark.parametrize(
    ("hops", "forwarded", "client"),
    [
        (1, ["198.51.100.1"], "198.51.100.1"),
        (1, ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        (1, ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        (2, ["203.0.113.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        (2, ["198.51.100.1"], "10.0.0.1"),
        (1, ["not an address"], "10.0.0.1"),
        (1, [], "10.0.0.1"),
        (1, ["198.51.100.1:4711"], "198.51.100.1"),
        (1, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (1, ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_trusted_hops_count_from_the_end(hops: int, forwarded: list[str], client: str) -> None:
    assert client_address(scope("10.0.0.1", *forwarded), hops) == client


def test_a_connection_without_an_address_is_one_subject() -> None:
    assert limit_subject(client_address({"client": None, "headers": []}, 0)) == "unknown"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_limits_count_what_one_customer_has(address: str, subject: str) -> None:
    assert limit_subject(address) == subject
