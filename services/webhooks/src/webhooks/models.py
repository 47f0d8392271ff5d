"""The tables: endpoints, the events that are kept for them, what is to be sent where, and what became of it."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from common.db import service_metadata
from common.inbox import attempts_table, inbox_table
from common.outbox import outbox_table
from webhooks.domain import DESCRIPTION_LENGTH, URL_LENGTH, DeliveryStatus, DisabledReason, Format


class Model(DeclarativeBase):
    """What the tables share."""

    metadata = service_metadata()
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: DateTime(timezone=True), str: Text, bytes: LargeBinary}


metadata = Model.metadata
outbox_table(metadata)
inbox_table(metadata)
attempts_table(metadata)


def _one_of(column: str, values: type[Format | DisabledReason | DeliveryStatus]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


class Endpoint(Model):
    """Where a user wants events sent."""

    __tablename__ = "endpoints"
    __table_args__ = (
        CheckConstraint(f"char_length(url) <= {URL_LENGTH}", name="url"),
        CheckConstraint(f"char_length(description) <= {DESCRIPTION_LENGTH}", name="description"),
        CheckConstraint(_one_of("format", Format), name="format"),
        CheckConstraint("cardinality(subjects) > 0", name="subjects"),
        CheckConstraint(_one_of("disabled_reason", DisabledReason), name="disabled_reason"),
        CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled"),
        CheckConstraint("(old_secret_sealed IS NULL) = (old_secret_until IS NULL)", name="old_secret"),
        Index(None, "user_id"),
        Index("ix_endpoints_subjects", "subjects", postgresql_using="gin"),
    )

    endpoint_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    url: Mapped[str]
    description: Mapped[str]
    format: Mapped[str]
    subjects: Mapped[list[str]] = mapped_column(ARRAY(Text))
    league_id: Mapped[UUID | None]
    """Whose leaderboard is sent instead of the global one."""
    secret_sealed: Mapped[bytes]
    old_secret_sealed: Mapped[bytes | None]
    old_secret_until: Mapped[datetime | None]
    failures: Mapped[int]
    """Failed attempts since the last success."""
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class StoredMessage(Model):
    """An event that at least one endpoint gets, once for all of them."""

    __tablename__ = "messages"
    __table_args__ = (Index(None, "received_at"),)

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    subject: Mapped[str]
    source: Mapped[str]
    key: Mapped[str]
    time: Mapped[str]
    body: Mapped[bytes]
    received_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Delivery(Model):
    """An event on its way to an endpoint.

    While somebody sends it, it carries his lease, and ``due_at`` is when the lease ends: so who dies loses it.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "endpoint_id"),
        CheckConstraint(_one_of("status", DeliveryStatus), name="status"),
        CheckConstraint("(status = 'pending') = (due_at IS NOT NULL)", name="due"),
        CheckConstraint("lease IS NULL OR status = 'pending'", name="lease"),
        Index("ix_deliveries_due", "due_at", postgresql_where=text("status = 'pending'")),
        Index("ix_deliveries_log", "endpoint_id", "created_at", "delivery_id"),
    )

    delivery_id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("endpoints.endpoint_id", ondelete="CASCADE"))
    event_id: Mapped[UUID] = mapped_column(ForeignKey("messages.event_id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(server_default=text("'pending'"))
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    """Since it was last asked for; the log has them all."""
    due_at: Mapped[datetime | None] = mapped_column(server_default=text("now()"))
    lease: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class DeliveryAttempt(Model):
    """One try of a delivery."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (CheckConstraint("status_code IS NOT NULL OR error IS NOT NULL", name="outcome"),)

    delivery_id: Mapped[UUID] = mapped_column(
        ForeignKey("deliveries.delivery_id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempted_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    status_code: Mapped[int | None]
    duration_ms: Mapped[int]
    error: Mapped[str | None]


class League(Model):
    """Whether a league's leaderboard is everybody's to read, from `league.created`."""

    __tablename__ = "leagues"

    league_id: Mapped[UUID] = mapped_column(primary_key=True)
    private: Mapped[bool]
    owner_id: Mapped[UUID]


class Member(Model):
    """Who is in a league, from `league.joined`."""

    __tablename__ = "members"

    league_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)


class Person(Model):
    """Whether a user is in use, from `user.deactivated` and its like; who is not here is."""

    __tablename__ = "people"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    active: Mapped[bool]
    status_at: Mapped[datetime | None]
    """When they last went or came back."""
    erased: Mapped[bool] = mapped_column(server_default=text("false"))
