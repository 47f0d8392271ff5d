"""What `auth` is told by its environment."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from msgspec import Meta
from msgspec.structs import FieldInfo

from common.settings import SECRET, Environment, Settings, SettingsError, described

NEIGHBOURS = {"ingest_url", "leagues_url", "webhooks_url"}
PRODUCTION_COST = 12
"""The cheapest bcrypt that production accepts."""
AVATAR_BYTES = 10 * 1024 * 1024
"""What the gateway lets through."""


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
    exchanged_token_seconds: Annotated[
        int, Meta(ge=30, le=300), described("Life of the access token that a personal access token is exchanged for")
    ] = 300
    trusted_hops: Annotated[
        int,
        Meta(ge=0, le=10),
        described("Proxies of ours in front, the gateway included, whose word for the address counts"),
    ] = 1

    avatar_bytes: Annotated[
        int, Meta(ge=1024, le=AVATAR_BYTES), described("Longest upload of a picture, its form included")
    ] = AVATAR_BYTES
    avatar_megapixels: Annotated[
        int,
        Meta(ge=1, le=64),
        described("Largest picture; a WebP, whose decoder needs twice the memory, half as large"),
    ] = 16
    avatar_threads: Annotated[int, Meta(ge=1), described("Pictures decoded at the same time, up to 150 MiB each")] = 1
    avatar_uploads: Annotated[int, Meta(ge=1), described("Pictures received at the same time; more are told 503")] = 6
    object_store_url: Annotated[
        str,
        Meta(pattern="^(file:///.+|s3://[^/]+(/.*)?|memory:///)$"),
        described("Where pictures are kept: file:///folder, s3://bucket/prefix, or memory:/// (not in production)"),
    ] = "memory:///"
    s3_endpoint: Annotated[str | None, described("URL of an S3 that is not Amazon's; http:// is for development")] = (
        None
    )
    s3_region: Annotated[str, described("Region of the bucket")] = "us-east-1"
    s3_access_key_id: Annotated[str | None, described("Empty: what AWS_… variables or the machine's role say")] = None
    s3_secret_access_key: Annotated[str | None, described("Secret of that key", **SECRET)] = None

    username_days: Annotated[int, Meta(ge=0, le=3650), described("Days between two changes of a username")] = 30
    ingest_url: Annotated[str, described("Base URL of ingest, which knows who races")] = "http://127.0.0.1:8002"
    leagues_url: Annotated[str, described("Base URL of leagues, for the export of somebody's data")] = (
        "http://127.0.0.1:8003"
    )
    webhooks_url: Annotated[str, described("Base URL of webhooks, for the same")] = "http://127.0.0.1:8006"

    @classmethod
    def variables(cls) -> Iterator[tuple[FieldInfo, str, Any]]:
        """Yield each field with its variable; where a service is, has no prefix, as everybody calls it so."""
        for field, variable, kind in super().variables():
            yield field, field.name.upper() if field.name in NEIGHBOURS else variable, kind

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
        if self.paddock_env is Environment.PRODUCTION and self.object_store_url.startswith("memory:"):
            raise SettingsError("AUTH_OBJECT_STORE_URL keeps pictures in memory; production needs file:// or s3://")
