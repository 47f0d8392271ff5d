"""Who is calling, as an address: the peer, or what our own proxies in front say about it."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from litestar.types import Scope

UNKNOWN = "unknown"


def client_address(scope: Scope, trusted_hops: int) -> str:
    """Return the client's address; ``X-Forwarded-For`` counts only as far as ``trusted_hops`` of our proxies wrote it.

    The last entry was written by the proxy that connected to us, the one before by the proxy in front of that. A list
    shorter than that, or an entry that is no address, did not come through all of them: then the peer is the client.
    """
    client = scope.get("client")
    peer = client[0] if client else UNKNOWN
    if not trusted_hops:
        return peer
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    entries = ",".join(lines).split(",")
    if len(entries) < trusted_hops:
        return peer
    return _address(entries[-trusted_hops].strip()) or peer


def _address(text: str) -> str | None:
    host = text
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ip_address(host))
    except ValueError:
        return None


@lru_cache(maxsize=10_000)
def limit_subject(address: str) -> str:
    """Return what limits count: an IPv4 address, or the /64 of an IPv6 address, which is what one customer gets."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return UNKNOWN
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64"
