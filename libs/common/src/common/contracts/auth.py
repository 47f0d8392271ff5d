"""What `auth` publishes."""

from typing import ClassVar, Literal
from uuid import UUID

from common.contracts.event import Event, Instant


class UserRegistered(Event, frozen=True, kw_only=True):
    """Somebody opened an account. Carries no e-mail address: subscribers do not need one."""

    subject: ClassVar[str] = "user.registered"
    source: ClassVar[str] = "auth"

    user_id: UUID
    username: str
    registered_at: Instant

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class UserUpdated(Event, frozen=True, kw_only=True):
    """What others see of an account changed. ``version`` grows with each change; an older one is to be ignored."""

    subject: ClassVar[str] = "user.updated"
    source: ClassVar[str] = "auth"

    user_id: UUID
    username: str
    full_name: str | None
    avatar_url: str | None
    """Path of the picture at the gateway."""
    profile_version: int
    updated_at: Instant

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class UserPreferencesChanged(Event, frozen=True, kw_only=True):
    """Somebody chose how to be told of things, how to be seen, and how to be drafted for."""

    subject: ClassVar[str] = "user.preferences-changed"
    source: ClassVar[str] = "auth"

    user_id: UUID
    language: str
    timezone: str
    """Of the IANA database."""
    profile_visibility: Literal["public", "private", "league_only"]
    show_email_to_league_members: bool
    auto_pick_enabled: bool
    auto_pick_strategy: Literal["highest_ranked", "random", "balanced"]
    notifications: dict[str, list[str]]
    """Kind of news to the channels it goes through."""
    quiet_from: str | None
    """Local time, ``HH:MM``; between the two only what cannot wait is sent."""
    quiet_until: str | None
    changed_at: Instant

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class UserDeactivated(Event, frozen=True, kw_only=True):
    """An account is out of use: blocked by an admin, or deleted by its owner and not yet erased."""

    subject: ClassVar[str] = "user.deactivated"
    source: ClassVar[str] = "auth"

    user_id: UUID
    reason: Literal["blocked", "deleted"]
    deactivated_at: Instant

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class UserActivated(Event, frozen=True, kw_only=True):
    """An account that was out of use is in use again."""

    subject: ClassVar[str] = "user.activated"
    source: ClassVar[str] = "auth"

    user_id: UUID
    username: str
    activated_at: Instant

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class UserDeleted(Event, frozen=True, kw_only=True):
    """An account is erased for good: whoever keeps anything that tells who it was forgets it."""

    subject: ClassVar[str] = "user.deleted"
    source: ClassVar[str] = "auth"

    user_id: UUID
    deleted_at: Instant

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class UserLocked(Event, frozen=True, kw_only=True):
    """So many wrong passwords came for an account that guessing is stopped for a while."""

    subject: ClassVar[str] = "user.locked"
    source: ClassVar[str] = "auth"

    user_id: UUID
    failures: int
    locked_until: Instant

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class SessionRevoked(Event, frozen=True, kw_only=True):
    """Sessions ended before their time: their access tokens, which would still be valid, are to be refused."""

    subject: ClassVar[str] = "session.revoked"
    source: ClassVar[str] = "auth"

    user_id: UUID
    """The user or admin whose they were."""
    session_ids: list[UUID]
    """The ``sid`` of the access tokens."""
    reason: str
    revoked_at: Instant
    """Tokens issued later are good."""

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class MailRequested(Event, frozen=True, kw_only=True):
    """A letter waits to be sent. Whom to and what about is known to `auth` alone."""

    subject: ClassVar[str] = "mail.requested"
    source: ClassVar[str] = "auth"

    mail_id: UUID
    kind: str

    def key(self) -> str:
        """Letters have no order."""
        return str(self.mail_id)
