"""Which URLs and addresses may be sent to."""

from ipaddress import ip_address

import pytest

from webhooks.settings import WebhooksSettings
from webhooks.targets import Guard, RefusedError, Target, is_near, is_public, read_ports, read_url


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target(scheme="https", host="example.com", port=443, path="/")),
        ("https://example.com/hook?a=b", Target(scheme="https", host="example.com", port=443, path="/hook?a=b")),
        ("https://example.com?a=b", Target(scheme="https", host="example.com", port=443, path="/?a=b")),
        ("https://a-1.example.co.uk:8443/x", Target(scheme="https", host="a-1.example.co.uk", port=8443, path="/x")),
        ("http://93.184.216.34/", Target(scheme="http", host="93.184.216.34", port=80, path="/")),
        ("https://[2606:4700::1111]/", Target(scheme="https", host="2606:4700::1111", port=443, path="/")),
        ("https://xn--bcher-kva.example/", Target(scheme="https", host="xn--bcher-kva.example", port=443, path="/")),
    ],
)
def test_a_plain_url_is_read(url: str, target: Target) -> None:
    assert read_url(url) == target


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://example.com", "example.com"),
        ("https://example.com:8443", "example.com:8443"),
        ("http://example.com:443", "example.com:443"),
        ("https://[2606:4700::1111]:8443", "[2606:4700::1111]:8443"),
    ],
)
def test_the_host_header_is_the_name_that_was_given(url: str, authority: str) -> None:
    assert read_url(url).authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "HTTPS://EXAMPLE.COM",
        "https://",
        "https:///path",
        "https://user@example.com",
        "https://example.com@127.0.0.1/",
        "https://example.com:443@127.0.0.1/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com#@127.0.0.1/",
        "https://127.0.0.1\t.example.com/",
        "https://example.com/\r\nX-Injected: 1",
        "https://example.com/ space",
        "https://exa_mple.com/",
        "https://example.com./",
        "https://example..com/",
        "https://-example.com/",
        "https://127。0。0。1/",
        "https://①②⑦.⓪.⓪.①/",
        "https://bücher.example/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://017700000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://example.0x/",
        "https://[::1%25lo]/",
        "https://[::ffff:127.0.0.1/",
        "https://[g::1]/",
        "https://example.com:/",
        "https://example.com:port/",
        "https://example.com:999999/",
        "https://%31%32%37.0.0.1/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
        "https://example.com/" + "x" * 2048,
    ],
)
def test_a_url_of_any_other_spelling_is_not(url: str) -> None:
    with pytest.raises(RefusedError):
        read_url(url)


PRIVATE = [
    "0.0.0.0",  # noqa: S104 - nobody listens here
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_the_open_internets_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"])
def test_an_address_of_the_open_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))
    assert not is_near(ip_address(address))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "172.16.9.9", "192.168.1.1", "::1", "fd12::1"])
def test_a_playground_reaches_its_own_machine_and_network(address: str) -> None:
    assert is_near(ip_address(address))


@pytest.mark.parametrize("address", ["169.254.169.254", "0.1.2.3", "100.64.0.1", "224.0.0.1", "fe80::1", "::"])
def test_a_playground_reaches_no_metadata_service_either(address: str) -> None:
    assert not is_near(ip_address(address))


def test_ports_are_numbers_and_ranges() -> None:
    assert [
        port for port in (79, 80, 443, 8000, 8999, 9000) if any(port in part for part in read_ports("80,8000-8999"))
    ] == [
        80,
        8000,
        8999,
    ]


@pytest.mark.parametrize("url", ["http://example.com/", "https://example.com:22/", "https://example.com:8444/"])
def test_by_default_scheme_and_port_are_those_of_https(url: str) -> None:
    guard = Guard(WebhooksSettings())
    with pytest.raises(RefusedError):
        guard.read(url)
    assert guard.read("https://example.com:8443/").port == 8443


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        ["2606:4700::1111", "::ffff:127.0.0.1"],
        ["not an address"],
        [],
    ],
)
async def test_one_address_that_is_not_public_condemns_the_name(answers: list[str]) -> None:
    async def resolve(_: str, __: int) -> list[str]:
        return answers

    with pytest.raises(RefusedError, match="no public address"):
        await Guard(WebhooksSettings(), resolve).addresses("example.com", 443)


async def test_a_name_that_does_not_exist_is_refused_in_the_same_words() -> None:
    async def resolve(_: str, __: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(RefusedError, match="no public address"):
        await Guard(WebhooksSettings(), resolve).addresses("example.com", 443)
