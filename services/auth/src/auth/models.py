"""The tables of `auth`."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, LargeBinary, Text, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from auth.domain import Family
from common.db import service_metadata
from common.inbox import inbox_table
from common.outbox import outbox_table


class Model(DeclarativeBase):
    """What the tables share."""

    metadata = service_metadata()
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: DateTime(timezone=True), str: Text, bytes: LargeBinary}


metadata = Model.metadata
outbox_table(metadata)
inbox_table(metadata)


class User(Model):
    """Somebody who plays."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("username ~ '^[A-Za-z0-9_]{3,50}$'", name="username"),
        CheckConstraint("char_length(email) <= 254", name="email"),
        CheckConstraint("char_length(full_name) <= 100", name="full_name"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str]
    email: Mapped[str]
    full_name: Mapped[str | None]
    password_hash: Mapped[str]
    created_at: Mapped[datetime]


class LoginSession(Model):
    """One login and the family of refresh tokens that keeps it going. The tokens themselves are not stored."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("generation >= 0", name="generation"),
        CheckConstraint("(revoked_at IS NULL) = (revoked_because IS NULL)", name="revoked"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
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


Index("uq_users_username", func.lower(User.username), unique=True)
Index("uq_users_email", func.lower(User.email), unique=True)
