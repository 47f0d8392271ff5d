"""Where a request comes from, as far as we believe it."""

from typing import Any, Self

import msgspec
from litestar import Request
from litestar.datastructures import State

from auth.settings import AuthSettings
from common.addresses import client_address
from common.http import request_id_of

DEVICE_LENGTH = 300
DEVICE_TOKEN_HEADER = "x-device-token"  # noqa: S105 - a name


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, apart from what they say about themselves in the body."""

    address: str | None
    """The client's address; the gateway's word for it, as nobody else reaches `auth`."""
    user_agent: str | None
    request_id: str | None
    device_token: str | None = None
    """What an earlier login on this device gave; see `auth.familiar`."""

    def on(self, device_token: str | None) -> Self:
        """Return the same with a device's token that came in the body; without one, that of the header stays."""
        return msgspec.structs.replace(self, device_token=device_token) if device_token else self


OPERATOR = Origin(address=None, user_agent=None, request_id=None)
"""Whoever works on the server itself."""


async def provide_origin(request: Request[Any, Any, Any], state: State) -> Origin:
    """Litestar dependency ``origin``."""
    settings: AuthSettings = state.settings
    agent = request.headers.get("user-agent", "")[:DEVICE_LENGTH]
    return Origin(
        address=client_address(request.scope, settings.trusted_hops),
        user_agent="".join(character for character in agent if character.isprintable()) or None,
        request_id=request_id_of(request.scope),
        device_token=request.headers.get(DEVICE_TOKEN_HEADER),
    )
