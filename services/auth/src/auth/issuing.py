"""The tokens of a session: an access token and the refresh token that gets the next one."""

from datetime import timedelta

import msgspec

from auth.domain import RefreshToken
from auth.jwts import access_token
from auth.keys import Signer, SigningKeys
from auth.models import LoginSession
from auth.owners import Owner, audience_of, bearer_of
from auth.settings import AuthSettings
from common import clock


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a login or a refresh gives."""

    access_token: str
    refresh_token: str
    expires_in: int
    """Seconds until the access token expires."""
    device_token: str | None = None
    """By which a later login on the same device is known; of a login only."""


class Issuer:
    """Signs for users and for admins."""

    def __init__(self, settings: AuthSettings, keys: SigningKeys) -> None:
        self._settings = settings
        self._keys = keys
        self._secret = settings.refresh_secret.encode()

    async def signer(self) -> Signer:
        """Return who signs; asks the database now and then, so ask before a transaction begins."""
        return await self._keys.signer()

    def issue(self, signer: Signer, owner: Owner, current: LoginSession, device_token: str | None = None) -> Grant:
        """Make a pair for a session as it is now; audience and scopes follow from who the owner is."""
        settings = self._settings
        life = timedelta(seconds=settings.access_token_seconds)
        signed = access_token(
            signer,
            bearer_of(owner, current.id),
            issuer=settings.token_issuer,
            audience=audience_of(owner, settings),
            issued_at=clock.now(),
            life=life,
        )
        refresh = RefreshToken(session_id=current.id, generation=current.generation).seal(self._secret)
        return Grant(
            access_token=signed,
            refresh_token=refresh,
            expires_in=settings.access_token_seconds,
            device_token=device_token,
        )

    def read(self, refresh_token: str) -> RefreshToken | None:
        """Return what a refresh token stands for, or nothing when we did not issue it."""
        return RefreshToken.read(refresh_token, self._secret)
