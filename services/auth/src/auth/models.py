"""The tables of `auth`."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from auth.domain import Family
from common.db import service_metadata
from common.inbox import attempts_table, inbox_table
from common.outbox import outbox_table


class Model(DeclarativeBase):
    """What the tables share."""

    metadata = service_metadata()
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        str: Text,
        bytes: LargeBinary,
        list[str]: ARRAY(Text),
        dict[str, Any]: JSONB,
    }


metadata = Model.metadata
APPEND_ONLY = ("audit",)
"""The tables that an administrator's migration takes over; see `common.migrate`."""
outbox_table(metadata)
inbox_table(metadata)
attempts_table(metadata)


class User(Model):
    """Somebody who plays."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("username ~ '^[A-Za-z0-9_]{3,50}$'", name="username"),
        CheckConstraint("char_length(email) <= 254", name="email"),
        CheckConstraint("char_length(full_name) <= 100", name="full_name"),
        CheckConstraint("phone ~ '^[+][1-9][0-9]{6,14}$'", name="phone"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str]
    email: Mapped[str]
    full_name: Mapped[str | None]
    phone: Mapped[str | None]
    """In the form of E.164."""
    password_hash: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    version: Mapped[int] = mapped_column(server_default="1")
    """Counts the changes that others see; the entity tag of the account."""
    email_verified_at: Mapped[datetime | None]
    password_changed_at: Mapped[datetime | None]
    username_changed_at: Mapped[datetime | None]
    must_reset_password: Mapped[bool] = mapped_column(server_default="false")
    """An admin asked for a new password; until then only a reset helps."""
    deactivated_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    """Since when the account is gone for everybody; it can be restored until it is erased."""


class LoginSession(Model):
    """One login and the family of refresh tokens that keeps it going. The tokens themselves are not stored."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("generation >= 0", name="generation"),
        CheckConstraint("(revoked_at IS NULL) = (revoked_because IS NULL)", name="revoked"),
        CheckConstraint("(user_id IS NULL) <> (admin_id IS NULL)", name="owner"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    admin_id: Mapped[UUID | None] = mapped_column(ForeignKey("admins.id", ondelete="CASCADE"), index=True)
    device: Mapped[str | None]
    """What the client called itself, ``User-Agent``."""
    address: Mapped[str | None]
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    generation: Mapped[int]
    created_at: Mapped[datetime]
    rotated_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_because: Mapped[str | None]

    def family(self) -> Family:
        """Return what the rules look at."""
        return Family(
            generation=self.generation,
            rotated_at=self.rotated_at,
            expires_at=self.expires_at,
            revoked=self.revoked_at is not None,
        )


class SigningKey(Model):
    """An Ed25519 key that access tokens are signed with."""

    __tablename__ = "signing_keys"
    __table_args__ = (CheckConstraint("octet_length(public_key) = 32", name="public_key"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    public_key: Mapped[bytes]
    private_key_sealed: Mapped[bytes]
    """The 32 raw bytes behind AES-256-GCM; see `auth.keys`."""
    created_at: Mapped[datetime]
    signs_from: Mapped[datetime] = mapped_column(server_default=func.now())
    """When it begins to sign: it is published a while before, so that everybody has it by then."""


class Guard(Model):
    """Wrong passwords in a row for one account from one origin; see `auth.guards`."""

    __tablename__ = "guards"

    subject: Mapped[bytes] = mapped_column(primary_key=True)
    """A keyed hash of whose password was tried: an account, or a name that nobody has."""
    origin: Mapped[str] = mapped_column(primary_key=True)
    """``stranger``, ``address:…`` or ``device:…``."""
    user_id: Mapped[UUID | None] = mapped_column(index=True)
    """Whose account it is, for admins who look; nothing for an admin's, and for a name that nobody has."""
    failures: Mapped[int]
    pending: Mapped[int]
    """Passwords that are being checked right now; each may become a failure."""
    last_at: Mapped[datetime] = mapped_column(index=True)
    locked_until: Mapped[datetime | None]


class Familiar(Model):
    """An address or a device that an account was logged in from; a lock against strangers does not hold there."""

    __tablename__ = "familiar"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    origin: Mapped[str] = mapped_column(primary_key=True)
    last_used_at: Mapped[datetime] = mapped_column(index=True)


class Allowance(Model):
    """How much of a limit is used up: GCRA's theoretical arrival time; see `auth.limits`."""

    __tablename__ = "allowances"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    name: Mapped[str] = mapped_column(primary_key=True)
    """Limit and whom it counts for."""
    due: Mapped[datetime] = mapped_column(index=True)
    """When it would be whole again."""


class OneTimeToken(Model):
    """A link sent by mail: proves an address, sets a new password, or confirms a new address. Once."""

    __tablename__ = "one_time_tokens"
    __table_args__ = (
        CheckConstraint("purpose IN ('verify_email', 'reset_password', 'change_email')", name="purpose"),
        CheckConstraint("octet_length(token_hash) = 32", name="token_hash"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    purpose: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    email: Mapped[str]
    """The address it was sent to, and the only one it speaks for."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]
    """When it was used, or when a newer one or a change of password or address took its place."""


Index(
    "uq_one_time_tokens_live",
    OneTimeToken.user_id,
    OneTimeToken.purpose,
    unique=True,
    postgresql_where=OneTimeToken.used_at.is_(None),
)


class Mail(Model):
    """A letter that was or will be sent, or somebody's request for one; its event carries the id alone."""

    __tablename__ = "mails"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_id: Mapped[UUID | None] = mapped_column(ForeignKey("one_time_tokens.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    address: Mapped[str]
    facts: Mapped[dict[str, Any]]
    """What the template tells beyond the link: when, from where."""
    created_at: Mapped[datetime] = mapped_column(index=True)
    sent_at: Mapped[datetime | None]
    """When the mail server took it."""
    dropped_at: Mapped[datetime | None]
    dropped_because: Mapped[str | None]
    """Why it will not be sent: its link was used up, the server refuses the recipient. Holds no address."""


class Preferences(Model):
    """What somebody likes; no row means the defaults."""

    __tablename__ = "preferences"
    __table_args__ = (
        CheckConstraint("theme IN ('light', 'dark', 'system')", name="theme"),
        CheckConstraint("profile_visibility IN ('public', 'private', 'league_only')", name="profile_visibility"),
        CheckConstraint("auto_pick_strategy IN ('highest_ranked', 'random', 'balanced')", name="auto_pick_strategy"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    theme: Mapped[str]
    language: Mapped[str]
    timezone: Mapped[str]
    profile_visibility: Mapped[str]
    show_email_to_league_members: Mapped[bool]
    auto_pick_enabled: Mapped[bool]
    auto_pick_strategy: Mapped[str]
    favorite_team: Mapped[str | None]
    favorite_driver: Mapped[str | None]
    notifications: Mapped[dict[str, Any]]
    """Which kinds of news come through which channel, and the quiet hours."""
    updated_at: Mapped[datetime]


class LeagueMember(Model):
    """Who plays in which league with which team, from `league.joined`: who is in one with whom may see more."""

    __tablename__ = "league_members"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    league_id: Mapped[UUID] = mapped_column(primary_key=True, index=True)
    team_id: Mapped[UUID | None]
    membership_version: Mapped[int]


class Avatar(Model):
    """The picture of a user: where the re-encoded image lies in the object store."""

    __tablename__ = "avatars"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    object_name: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[bytes]
    """SHA-256 of the image; the entity tag."""
    size: Mapped[int]
    created_at: Mapped[datetime]


class PersonalAccessToken(Model):
    """A token of a program that acts for a user; only a keyed hash of it is stored."""

    __tablename__ = "personal_access_tokens"
    __table_args__ = (CheckConstraint("octet_length(token_hash) = 32", name="token_hash"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    hint: Mapped[str]
    """Its last characters, to tell one from another."""
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class RegistrationKey(Model):
    """A registration that its client may send again and get the same answer; see `auth.registration_keys`."""

    __tablename__ = "registration_keys"

    key_hash: Mapped[bytes] = mapped_column(primary_key=True)
    """A keyed hash of the header ``Idempotency-Key``."""
    fingerprint: Mapped[str]
    """The bcrypt hash of the body, as the body holds a password."""
    answer: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(index=True)


class Admin(Model):
    """Somebody who looks after the place; no user, and no user is one."""

    __tablename__ = "admins"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str]
    email: Mapped[str]
    password_hash: Mapped[str]
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    password_changed_at: Mapped[datetime | None]
    deactivated_at: Mapped[datetime | None]


class AuditEntry(Model):
    """Who did what to whom, from where, with what result. Only ever added to; see `auth.audit`."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor_kind: Mapped[str]
    """``user``, ``admin``, ``operator``, ``system`` or ``anonymous``."""
    actor_id: Mapped[UUID | None] = mapped_column(index=True)
    action: Mapped[str] = mapped_column(index=True)
    target_id: Mapped[UUID | None] = mapped_column(index=True)
    """The account it was done to."""
    address: Mapped[str | None]
    request_id: Mapped[str | None]
    trace_id: Mapped[str | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    previous_hash: Mapped[bytes] = mapped_column(unique=True)
    """Unique, so that the chain cannot fork."""
    hash: Mapped[bytes] = mapped_column(unique=True)
    """SHA-256 over the entry and the hash of the one before."""


_KEPT = User.deleted_at.is_(None)
Index("uq_users_username", func.lower(User.username), unique=True, postgresql_where=_KEPT)
Index("uq_users_email", func.lower(User.email), unique=True, postgresql_where=_KEPT)
Index("uq_users_phone", User.phone, unique=True, postgresql_where=_KEPT)
Index(
    "ix_users_search",
    User.username,
    User.full_name,
    User.email,
    postgresql_using="gin",
    postgresql_ops=dict.fromkeys(("username", "full_name", "email"), "extensions.gin_trgm_ops"),
)
Index("ix_users_created_at", User.created_at, User.id)
Index("ix_users_deleted_at", User.deleted_at, postgresql_where=User.deleted_at.is_not(None))
Index(
    "uq_personal_access_tokens_name",
    PersonalAccessToken.user_id,
    func.lower(PersonalAccessToken.name),
    unique=True,
    postgresql_where=PersonalAccessToken.revoked_at.is_(None),
)
Index("uq_admins_username", func.lower(Admin.username), unique=True)
Index("uq_admins_email", func.lower(Admin.email), unique=True)
