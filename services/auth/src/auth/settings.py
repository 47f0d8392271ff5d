"""What `auth` is told by its environment."""

from datetime import timedelta
from typing import Annotated, ClassVar

from msgspec import Meta

from common.settings import SECRET, Environment, Settings, SettingsError, described

PRODUCTION_COST = 12
"""The cheapest bcrypt that production accepts."""


class AuthSettings(Settings, frozen=True, kw_only=True):
    """Settings of `auth`; a secret is at least 32 random characters."""

    prefix: ClassVar[str] = "AUTH_"

    access_token_seconds: Annotated[int, Meta(ge=10, le=3600), described("Life of an access token")] = 900
    refresh_idle_days: Annotated[int, Meta(ge=1), described("A session not refreshed for so long is over")] = 14
    refresh_absolute_days: Annotated[int, Meta(ge=1), described("A session is over so long after its login")] = 60
    refresh_grace_seconds: Annotated[
        int,
        Meta(ge=0, le=60),
        described("How long a refresh token may be sent again, for a client that lost the answer"),
    ] = 10
    bcrypt_cost: Annotated[int, Meta(ge=4, le=16), described("bcrypt cost; at least 12 in production")] = 12
    hash_threads: Annotated[int, Meta(ge=1), described("Passwords hashed at the same time")] = 2
    hash_queue: Annotated[int, Meta(ge=0), described("Passwords that may wait for a thread; more are told 503")] = 16
    password_pepper: Annotated[
        str, Meta(min_length=32), described("Key of the prehash; changing it invalidates every password", **SECRET)
    ] = "paddock-development-password-pepper"  # noqa: S105 - refused in production
    refresh_secret: Annotated[
        str, Meta(min_length=32), described("Key of refresh tokens; changing it ends every session", **SECRET)
    ] = "paddock-development-refresh-token-secret"  # noqa: S105 - refused in production
    key_encryption_secret: Annotated[
        str, Meta(min_length=32), described("Encrypts the private signing keys in the database", **SECRET)
    ] = "paddock-development-key-encryption-secret"  # noqa: S105 - refused in production

    token_secret: Annotated[
        str,
        Meta(min_length=32),
        described(
            "Key of links sent by mail, personal access tokens and device tokens; changing it voids them", **SECRET
        ),
    ] = "paddock-development-one-time-token-secret"  # noqa: S105 - refused in production
    trusted_hops: Annotated[
        int,
        Meta(ge=0, le=10),
        described("Proxies of ours in front, the gateway included, whose word for the address counts"),
    ] = 1

    @property
    def refresh_idle(self) -> timedelta:
        """Longest pause between two refreshes."""
        return timedelta(days=self.refresh_idle_days)

    @property
    def refresh_absolute(self) -> timedelta:
        """Longest life of a session."""
        return timedelta(days=self.refresh_absolute_days)

    @property
    def refresh_grace(self) -> timedelta:
        """How long after its use a refresh token is answered once more."""
        return timedelta(seconds=self.refresh_grace_seconds)

    def refuse_defaults(self) -> None:
        """In production, raise `SettingsError` for a default secret or a cheap bcrypt."""
        super().refuse_defaults()
        if self.paddock_env is Environment.PRODUCTION and self.bcrypt_cost < PRODUCTION_COST:
            raise SettingsError(f"AUTH_BCRYPT_COST is {self.bcrypt_cost}; production needs at least {PRODUCTION_COST}")
