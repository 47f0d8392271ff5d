"""Whom we may send to. A subscriber's URL must never make us talk to our own network (SSRF).

A URL has one spelling that we accept and read ourselves, so that no two readers can disagree about it. Its host is
resolved by us, every address it has must be public, and the connection is made to one of the addresses that were
checked: a name that answers differently a moment later changes nothing. Redirects are not followed at all.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpcore
import msgspec
from httpcore import SOCKET_OPTION, AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

from common.errors import FieldError, InvalidError
from webhooks.domain import URL_LENGTH
from webhooks.settings import WebhooksSettings

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]

RESOLVE_SECONDS = 3.0
ADDRESSES = 3
"""How many addresses of a host are tried."""
DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::([0-9]{1,5}))?((?:[/?][!$-\[\]^-~]*)?)")
"""Lower case scheme and host, no user, no fragment, no backslash, and nothing but printable ASCII."""
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that other readers would take for a part of an IPv4 address."""
_HOST_LENGTH = 253

_GLOBAL_V6 = ip_network("2000::/3")
_NEVER = [
    ip_network(text)
    for text in (
        "168.63.129.16/32",  # the host of a virtual machine in Azure
        "192.0.0.0/24",  # protocol assignments, some of them called global
        "192.88.99.0/24",  # relays to 6to4
        "2001::/23",  # protocol assignments: Teredo and ORCHID, which carry other addresses
        "2002::/16",  # 6to4, which carries an IPv4 address
        "3fff::/20",  # documentation
        "64:ff9b::/96",  # NAT64, which carries an IPv4 address
        "64:ff9b:1::/48",
    )
]


class RefusedError(Exception):
    """The URL, or the address behind its name, is none that may be sent to; the message says why."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A URL in its parts."""

    scheme: str
    host: str
    """A name, or an address without brackets."""
    port: int
    path: str
    """With the query."""

    @property
    def authority(self) -> str:
        """The ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def read_url(url: str) -> Target:
    """Read a URL of the one spelling; raise `RefusedError`."""
    match = _URL.fullmatch(url)
    if match is None or len(url) > URL_LENGTH:
        raise RefusedError(
            "not a plain URL: scheme and host in lower case, no user, no fragment, nothing but printable ASCII"
        )
    scheme, host, port, path = match.groups()
    if host.startswith("["):
        host = _literal(host[1:-1], IPv6Address)
    elif _NUMBER.fullmatch(host.rpartition(".")[2]):
        host = _literal(host, IPv4Address)
    elif len(host) > _HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise RefusedError("the host is not a name: labels of letters, digits and hyphens, no dot at the end")
    return Target(
        scheme=scheme,
        host=host,
        port=int(port) if port else DEFAULT_PORTS[scheme],
        path=path if path.startswith("/") else f"/{path}",
    )


def _literal(text: str, kind: type[Address]) -> str:
    try:
        return str(kind(text))
    except ValueError as error:
        raise RefusedError("the host is a number that is no plain IP address") from error


def read_ports(text: str) -> list[range]:
    """Read ``443,8000-8999``."""
    bounds = [part.partition("-") for part in text.split(",")]
    return [range(int(low), int(high or low) + 1) for low, _, high in bounds]


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the open internet and carries no other address within it."""
    if any(address in network for network in _NEVER):
        return False
    if address.version == 6 and address not in _GLOBAL_V6:  # noqa: PLR2004 - the version of IP
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def is_near(address: Address) -> bool:
    """Tell whether an address is loopback or private; metadata services, multicast and the like are neither."""
    if address.version == 6:  # noqa: PLR2004 - the version of IP
        return address.is_loopback or address in ip_network("fc00::/7")
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    return address.is_loopback or any(address in ip_network(text) for text in private)


class Guard:
    """Decides whether a URL may be sent to, and to which addresses."""

    def __init__(self, settings: WebhooksSettings, resolve: Resolve | None = None) -> None:
        self._schemes = {"https", "http"} if settings.allow_http else {"https"}
        self._ports = read_ports(settings.ports)
        self._allow_private = settings.allow_private
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="resolve")
        self._resolve = resolve or self._ask_system

    def read(self, url: str) -> Target:
        """Read a URL whose scheme and port are allowed; raise `RefusedError`."""
        target = read_url(url)
        if target.scheme not in self._schemes:
            raise RefusedError("the scheme must be https")
        if not any(target.port in ports for ports in self._ports):
            raise RefusedError(f"port {target.port} is not sent to")
        return target

    async def addresses(self, host: str, port: int) -> list[str]:
        """Resolve a host; raise `RefusedError` unless it has addresses and each may be sent to.

        The one message does not tell a name that exists in our network from one that does not exist.
        """
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = [ip_address(text) for text in await self._resolve(host, port)]
        except (OSError, ValueError, TimeoutError) as error:
            raise RefusedError("the host has no public address") from error
        if not found or not all(self._allowed(address) for address in found):
            raise RefusedError("the host has no public address")
        return [str(address) for address in found]

    async def check(self, url: str) -> None:
        """Raise `InvalidError` for a URL that nobody may register."""
        try:
            target = self.read(url)
            await self.addresses(target.host, target.port)
        except RefusedError as error:
            detail = f"This URL cannot be sent to: {error}."
            raise InvalidError("url_refused", detail, errors=[FieldError(field="url", message=str(error))]) from error

    def close(self) -> None:
        """Wait for no name any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _allowed(self, address: Address) -> bool:
        return is_public(address) or (self._allow_private and is_near(address))

    async def _ask_system(self, host: str, port: int) -> list[str]:
        """Resolve in threads of our own: a name server that is silent must not stop everybody else's lookups."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _lookup, host, port)
        return list(dict.fromkeys(found))


def _lookup(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class CheckedBackend(AsyncNetworkBackend):
    """Connects to addresses that a guard has let pass, whatever the name says by then."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._dial = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Resolve, check, and connect to the first address that answers."""
        *others, last = (await self._guard.addresses(host, port))[:ADDRESSES]
        for address in others:
            try:
                return await self._dial.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._dial.connect_tcp(last, port, timeout, local_address, socket_options)
