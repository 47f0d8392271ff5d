"""The HTTP surface of `auth`."""

import msgspec
from litestar import Response, get
from litestar.datastructures import State

from auth import (
    access_token_routes,
    admin_routes,
    admin_session_routes,
    admin_user_routes,
    avatar_routes,
    email_routes,
    export_routes,
    own_account_routes,
    pages,
    preference_routes,
    profile_routes,
    recovery_routes,
    registration_routes,
    session_routes,
)
from auth.keys import SigningKeys
from auth.schemas import Jwk, JwkSet

JWKS_SECONDS = 60
"""How long a cache may keep the key set; a withdrawn key is refused everywhere after that."""


@get("/.well-known/jwks.json", tags=["keys"])
async def jwks(state: State) -> Response[JwkSet]:
    """Publish the keys that access tokens are verified with."""
    keys: SigningKeys = state.signing_keys
    published = msgspec.convert(await keys.published(), list[Jwk])
    return Response(JwkSet(keys=published), headers={"Cache-Control": f"public, max-age={JWKS_SECONDS}"})


HANDLERS = [
    jwks,
    *registration_routes.HANDLERS,
    *session_routes.HANDLERS,
    *email_routes.HANDLERS,
    *recovery_routes.HANDLERS,
    *pages.HANDLERS,
    *profile_routes.HANDLERS,
    *own_account_routes.HANDLERS,
    *preference_routes.HANDLERS,
    *export_routes.HANDLERS,
    *access_token_routes.HANDLERS,
    *avatar_routes.HANDLERS,
    *admin_session_routes.HANDLERS,
    *admin_routes.HANDLERS,
    *admin_user_routes.HANDLERS,
]
