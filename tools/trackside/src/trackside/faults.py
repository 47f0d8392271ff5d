"""Faults on demand: the next answers to some paths go wrong, in the ways the real server or the road to it does."""

import itertools
import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

Kind = Literal["429", "500", "503", "slow", "truncated", "short", "malformed", "html404"]

THROTTLED = b'{"detail":"Request was throttled."}'
"""Jolpica's own words; it sends no `Retry-After`."""
NOT_FOUND_PAGE = (
    b'<!doctype html>\n<html lang="en">\n<head>\n  <title>Not Found</title>\n</head>\n<body>\n'
    b"  <h1>Not Found</h1><p>The requested resource was not found on this server.</p>\n</body>\n</html>\n"
)
SERVER_ERROR_PAGE = (
    b'<!doctype html>\n<html lang="en">\n<head>\n  <title>Server Error (500)</title>\n</head>\n<body>\n'
    b"  <h1>Server Error (500)</h1><p></p>\n</body>\n</html>\n"
)
UNAVAILABLE_PAGE = b"<html><head><title>503 Service Temporarily Unavailable</title></head><body></body></html>\n"


class FaultOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """A fault as it is asked for: which answers, how often, and for `slow` how many seconds each is held back.

    `path` is a regular expression searched in the path of a request, e.g. `/results` or `/2026/1$`,
    without the slash at its end. `truncated` cuts
    the bytes in the middle, `short` is a page with its last row missing while `total` still counts it.
    """

    kind: Kind
    path: str = ""
    times: Annotated[int, Meta(ge=1, le=100_000)] = 1
    seconds: Annotated[float, Meta(ge=0, le=600)] = 5.0

    def __post_init__(self) -> None:
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"path is not a regular expression: {error}") from error


class Fault(Struct, kw_only=True):
    """A fault in force; it is gone when `left` reaches 0."""

    id: int
    kind: Kind
    path: str
    times: int
    seconds: float
    left: int


def spoil(kind: Kind, body: bytes) -> bytes:
    """A good body gone bad: `truncated` breaks off in the middle, `malformed` is JSON of another shape."""
    match kind:
        case "truncated":
            return body[: len(body) // 2]
        case "malformed":
            return b'{"MRData":{"xmlns":"","series":"f1","limit":30,"offset":null,"total":"many"}}'
        case _:
            return body


class Faults:
    """The faults in force, the oldest first: a request meets at most one of them."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._faults: list[Fault] = []

    def add(self, order: FaultOrder) -> Fault:
        """Put a fault in force."""
        fault = Fault(
            id=next(self._ids),
            kind=order.kind,
            path=order.path,
            times=order.times,
            seconds=order.seconds,
            left=order.times,
        )
        self._faults.append(fault)
        return fault

    def take(self, path: str) -> Fault | None:
        """The fault that this request meets, counted down, or `None`."""
        fault = next((fault for fault in self._faults if re.search(fault.path, path)), None)
        if fault is not None:
            fault.left -= 1
            if not fault.left:
                self._faults.remove(fault)
        return fault

    def clear(self) -> None:
        """Lift all."""
        self._faults.clear()

    @property
    def in_force(self) -> tuple[Fault, ...]:
        """All of them, the oldest first."""
        return tuple(self._faults)
