"""What `auth` publishes."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from msgspec import Struct

from common.contracts.event import Event, Instant


class Visibility(StrEnum):
    """Who may see a profile."""

    PUBLIC = "public"
    LEAGUE_ONLY = "league_only"
    PRIVATE = "private"


class PickStrategy(StrEnum):
    """How a pick is made for somebody who missed their turn."""

    HIGHEST_RANKED = "highest_ranked"
    RANDOM = "random"
    BALANCED = "balanced"


class DeactivationReason(StrEnum):
    """Why an account is out of use."""

    BLOCKED = "blocked"
    """An admin closed it."""
    DELETED = "deleted"
    """Its owner deleted it."""


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
    """The name now."""
    full_name: str | None
    """What they call themselves, if they say."""
    avatar_url: str | None
    """Path of the picture at the gateway."""
    profile_version: int
    """Grows with each change."""
    updated_at: Instant
    """When it changed."""

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class NewsChannels(Struct, frozen=True, kw_only=True):
    """Through which channels one kind of news comes."""

    kind: str
    """For example ``race_completed``."""
    channels: list[str]
    """Of ``in_app``, ``email``, ``push`` and ``webhook``; empty is not at all."""


class UserPreferencesChanged(Event, frozen=True, kw_only=True):
    """Somebody chose how to be told of things, how to be seen, and how to be drafted for."""

    subject: ClassVar[str] = "user.preferences.changed"
    source: ClassVar[str] = "auth"

    user_id: UUID
    language: str
    """A language tag (BCP 47)."""
    timezone: str
    """Of the IANA database."""
    profile_visibility: Visibility
    """Who may see the profile."""
    show_email_to_league_members: bool
    """True when members of a common league may see the address."""
    auto_pick_enabled: bool
    """True when a missed turn of a draft is picked for them."""
    auto_pick_strategy: PickStrategy
    """How such a pick is made."""
    notifications: list[NewsChannels]
    """Each kind of news once."""
    quiet_from: str | None
    """Local time, ``HH:MM``; between the two only what cannot wait is sent."""
    quiet_until: str | None
    """Local time, ``HH:MM``; the end of the quiet hours."""
    changed_at: Instant
    """When."""

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class UserDeactivated(Event, frozen=True, kw_only=True):
    """An account is out of use: blocked by an admin, or deleted by its owner and not yet erased."""

    subject: ClassVar[str] = "user.deactivated"
    source: ClassVar[str] = "auth"

    user_id: UUID
    reason: DeactivationReason
    """By an admin, or by its owner."""
    deactivated_at: Instant
    """Since when nobody can log in to it."""

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class UserActivated(Event, frozen=True, kw_only=True):
    """An account that was out of use is in use again."""

    subject: ClassVar[str] = "user.activated"
    source: ClassVar[str] = "auth"

    user_id: UUID
    username: str
    """The name in use from now on."""
    activated_at: Instant
    """When it was made usable again."""

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class UserDeleted(Event, frozen=True, kw_only=True):
    """An account is erased for good: whoever keeps anything that tells who it was forgets it."""

    subject: ClassVar[str] = "user.deleted"
    source: ClassVar[str] = "auth"

    user_id: UUID
    deleted_at: Instant
    """When it was erased."""

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)


class UserLocked(Event, frozen=True, kw_only=True):
    """So many wrong passwords came for an account that guessing is stopped for a while."""

    subject: ClassVar[str] = "user.locked"
    source: ClassVar[str] = "auth"

    user_id: UUID
    failures: int
    """Wrong passwords in a row."""
    locked_until: Instant
    """When another try is let through."""

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
    """Why, in words."""
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
    """What `auth` keeps it under."""
    kind: str
    """Which letter, for example ``verify_email``."""

    def key(self) -> str:
        """Letters have no order."""
        return str(self.mail_id)
