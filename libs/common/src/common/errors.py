"""The errors of the product: a small tree of kinds, each with a stable code.

Rules raise them; only `common.http` knows which status a kind is, and only `common.delivery` knows whether a kind
is tried again. `detail` is shown to the client, so it never holds internals.
"""

from typing import ClassVar

import msgspec


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a request: where and why."""

    field: str
    message: str


class PaddockError(Exception):
    """The root. `code` is stable and documented, `detail` is a sentence for a person."""

    title: ClassVar[str] = "Error"

    def __init__(
        self, code: str, detail: str, *, errors: list[FieldError] | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.errors = errors or []
        self.retry_after = retry_after
        """Seconds after which trying again makes sense."""


class InvalidError(PaddockError):
    """The request has the wrong shape."""

    title = "Invalid request"


class UnauthorizedError(PaddockError):
    """Nobody is logged in, or the token is no good."""

    title = "Unauthorized"


class ForbiddenError(PaddockError):
    """It exists, and it is not yours."""

    title = "Forbidden"


class NotFoundError(PaddockError):
    """It does not exist, or you may not know that it does."""

    title = "Not found"


class ConflictError(PaddockError):
    """A rule of the game or the state of things forbids it."""

    title = "Conflict"


class StaleError(PaddockError):
    """It has changed since the client looked at it."""

    title = "Precondition failed"


class LockedError(PaddockError):
    """It is closed for a while; `retry_after` says for how long."""

    title = "Locked"


class TooManyRequestsError(PaddockError):
    """A limit is reached."""

    title = "Too many requests"


class UnavailableError(PaddockError):
    """Something that is needed does not answer right now; trying again helps."""

    title = "Service unavailable"


class PoisonError(PaddockError):
    """An event can never be processed, however often it is tried."""

    title = "Unprocessable event"
