"""What `auth` is told by its environment."""

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from msgspec import Meta
from msgspec.structs import FieldInfo

from auth.limit_settings import LimitSettings
from common.settings import SECRET, Environment, SettingsError, described

NEIGHBOURS = {"ingest_url", "leagues_url", "webhooks_url"}
PRODUCTION_COST = 12
"""The cheapest bcrypt that production accepts."""
PRODUCTION_PUBLISH_SECONDS = 60
"""So long it may take until everybody has a new key."""
AVATAR_BYTES = 10 * 1024 * 1024
"""What the gateway lets through."""
LINK_URL = "http://127.0.0.1:8000"


class SmtpSecurity(StrEnum):
    """How the connection to the mail server is kept from being read."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


class AuthSettings(LimitSettings, frozen=True, kw_only=True):
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
    key_days: Annotated[int, Meta(ge=1, le=365), described("Days after which another key signs")] = 30
    key_publish_seconds: Annotated[
        int,
        Meta(ge=1, le=86400),
        described("How long a new key is published before it signs; at least 60 in production"),
    ] = 120
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
    avatar_uploads: Annotated[int, Meta(ge=1), described("Pictures received at the same time; more are told 503")] = 4
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

    product_name: Annotated[
        str, Meta(max_length=50, pattern=r"^[^\x00-\x1f\x7f]+$"), described("What letters call the product")
    ] = "Paddock"
    link_url: Annotated[
        str,
        Meta(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$"),
        described("Where links in letters lead: this, then /verify, /reset-password or /confirm-email"),
    ] = LINK_URL
    verify_link_hours: Annotated[int, Meta(ge=1, le=24), described("Life of a link that proves an address")] = 24
    reset_link_minutes: Annotated[int, Meta(ge=5, le=1440), described("Life of a link to a new password")] = 60
    change_email_link_hours: Annotated[int, Meta(ge=1, le=24), described("Life of a link to a new address")] = 24
    mail_from: Annotated[
        str, Meta(max_length=254, pattern=r"^[^\s@<>,;:\"]+@[A-Za-z0-9.-]+$"), described("Sender of letters")
    ] = "no-reply@paddock.example"
    mail_days: Annotated[
        int, Meta(ge=1, le=7), described("A letter that no server took for so long is given up (RFC 5321, 4.5.4.1)")
    ] = 5
    smtp_host: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9.:_-]+$"), described("Mail server; by default the mailbox of `make run`")
    ] = "127.0.0.1"
    smtp_port: Annotated[int, Meta(ge=1, le=65535), described("Its port: 587 with starttls, 465 with tls")] = 1025
    smtp_security: Annotated[
        SmtpSecurity, described("none, starttls or tls; whoever has no certificate of that name gets no letter")
    ] = SmtpSecurity.NONE
    smtp_ca_file: Annotated[str | None, described("Certificates to trust besides the system's")] = None
    smtp_username: Annotated[str | None, described("Empty: no login")] = None
    smtp_password: Annotated[str | None, described("Password of that user", **SECRET)] = None
    smtp_seconds: Annotated[int, Meta(ge=1, le=45), described("What sending one letter may take")] = 20
    check_names: Annotated[
        bool, described("Whether anybody may ask if a username, or an address unless accounts are hidden, is free")
    ] = True

    purge_minutes: Annotated[
        int, Meta(ge=1, le=1440), described("Minutes between two removals of what has expired")
    ] = 60
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

    @property
    def key_age(self) -> timedelta:
        """How long a key signs."""
        return timedelta(days=self.key_days)

    @property
    def key_publish(self) -> timedelta:
        """How long a key is published before it signs."""
        return timedelta(seconds=self.key_publish_seconds)

    def refuse_defaults(self) -> None:
        """In production, raise `SettingsError` for a default secret or a cheap bcrypt."""
        super().refuse_defaults()
        if self.paddock_env is Environment.PRODUCTION and self.bcrypt_cost < PRODUCTION_COST:
            raise SettingsError(f"AUTH_BCRYPT_COST is {self.bcrypt_cost}; production needs at least {PRODUCTION_COST}")
        if self.paddock_env is Environment.PRODUCTION and self.key_publish_seconds < PRODUCTION_PUBLISH_SECONDS:
            least = f"production needs at least {PRODUCTION_PUBLISH_SECONDS}"
            raise SettingsError(f"AUTH_KEY_PUBLISH_SECONDS is {self.key_publish_seconds}; {least}")
        if self.paddock_env is Environment.PRODUCTION and self.link_url == LINK_URL:
            raise SettingsError("AUTH_LINK_URL is not set; links in letters would lead to whoever reads them")
        if self.smtp_password and self.smtp_security is SmtpSecurity.NONE:
            raise SettingsError("AUTH_SMTP_PASSWORD would be sent in the clear; set AUTH_SMTP_SECURITY")
        if self.paddock_env is Environment.PRODUCTION and self.object_store_url.startswith("memory:"):
            raise SettingsError("AUTH_OBJECT_STORE_URL keeps pictures in memory; production needs file:// or s3://")
