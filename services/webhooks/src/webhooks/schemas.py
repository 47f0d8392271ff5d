"""What goes over HTTP: input and output are different types."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from common.contracts import type_of
from common.errors import FieldError, InvalidError
from common.http import Page
from webhooks.domain import DESCRIPTION_LENGTH, URL_LENGTH, DeliveryStatus, DisabledReason, Failure, Format, Subject
from webhooks.models import Endpoint
from webhooks.queries import DeliveryRow

Url = Annotated[str, Meta(min_length=1, max_length=URL_LENGTH, description="https, a public host, a usual port")]
Subjects = Annotated[list[Subject], Meta(min_length=1, max_length=len(Subject), description="Each once")]
Description = Annotated[str, Meta(max_length=DESCRIPTION_LENGTH, description="For yourself")]
League = Annotated[
    UUID | None, Meta(description="The leaderboard of this league instead of the global one; with leaderboard.updated")
]


class EndpointInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An endpoint to register."""

    url: Url
    subjects: Subjects
    format: Format = Format.CLOUDEVENTS
    description: Description = ""
    league_id: League = None


class EndpointPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays."""

    url: Url | UnsetType = UNSET
    subjects: Subjects | UnsetType = UNSET
    format: Format | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    league_id: League | UnsetType = UNSET


def check_subjects(subjects: list[Subject], league_id: UUID | None) -> None:
    """Raise `InvalidError` for a subject that comes twice and for a league that nothing is about."""
    if len(set(subjects)) != len(subjects):
        raise _invalid("duplicate_subject", "subjects", "A subject is named twice.")
    if league_id is not None and Subject.LEADERBOARD_UPDATED not in subjects:
        raise _invalid("league_without_leaderboard", "league_id", "A league goes with leaderboard.updated alone.")


def _invalid(code: str, field: str, detail: str) -> InvalidError:
    return InvalidError(code, detail, errors=[FieldError(field=field, message=detail)])


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as its owner sees it, without its secret."""

    endpoint_id: UUID
    url: str
    subjects: list[Subject]
    format: Format
    description: str
    league_id: UUID | None
    enabled: bool
    disabled_reason: Annotated[
        DisabledReason | None,
        Meta(
            description="owner: you; deactivated: your account was; gone: it answered 410; failing: too often, too long"
        ),
    ]
    disabled_at: datetime | None
    failures: Annotated[int, Meta(description="Failed attempts since the last success")]
    failing_since: datetime | None
    old_secret_until: Annotated[datetime | None, Meta(description="Until then the secret before this one signs too")]
    created_at: datetime

    @classmethod
    def of(cls, endpoint: Endpoint) -> "EndpointView":
        """Show an endpoint."""
        return cls(**_fields(endpoint))


class EndpointCreated(EndpointView, frozen=True, kw_only=True):
    """An endpoint with its secret, which is shown this once."""

    secret: str

    @classmethod
    def with_secret(cls, endpoint: Endpoint, secret: str) -> "EndpointCreated":
        """Show a new endpoint."""
        return cls(**_fields(endpoint), secret=secret)


def _fields(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "endpoint_id": endpoint.endpoint_id,
        "url": endpoint.url,
        "subjects": [Subject(subject) for subject in endpoint.subjects],
        "format": Format(endpoint.format),
        "description": endpoint.description,
        "league_id": endpoint.league_id,
        "enabled": endpoint.disabled_at is None,
        "disabled_reason": DisabledReason(endpoint.disabled_reason) if endpoint.disabled_reason else None,
        "disabled_at": endpoint.disabled_at,
        "failures": endpoint.failures,
        "failing_since": endpoint.failing_since,
        "old_secret_until": endpoint.old_secret_until,
        "created_at": endpoint.created_at,
    }


class EndpointList(msgspec.Struct, frozen=True, kw_only=True):
    """All of a user's endpoints."""

    items: list[EndpointView]


class NewSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret, which is shown this once."""

    secret: str
    old_secret_until: Annotated[datetime | None, Meta(description="Until then every request has both signatures")]


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a delivery."""

    number: int
    attempted_at: Annotated[datetime, Meta(description="When it ended")]
    status_code: int | None
    duration_ms: int
    error: Failure | None


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to an endpoint."""

    delivery_id: UUID
    event_id: Annotated[UUID, Meta(description="`webhook-id`, and the `id` of the CloudEvent")]
    type: str
    subject: str
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: Annotated[
        datetime | None, Meta(description="While one is under way: when another would be made if it never ended")
    ]
    attempts: list[AttemptView]

    @classmethod
    def of(cls, row: DeliveryRow) -> "DeliveryView":
        """Show a delivery."""
        delivery = row.delivery
        return cls(
            delivery_id=delivery.delivery_id,
            event_id=delivery.event_id,
            type=type_of(row.subject),
            subject=row.subject,
            status=DeliveryStatus(delivery.status),
            created_at=delivery.created_at,
            next_attempt_at=delivery.due_at,
            attempts=[
                AttemptView(
                    number=attempt.number,
                    attempted_at=attempt.attempted_at,
                    status_code=attempt.status_code,
                    duration_ms=attempt.duration_ms,
                    error=Failure(attempt.error) if attempt.error else None,
                )
                for attempt in row.attempts
            ],
        )


class DeliveryPage(Page, frozen=True, kw_only=True):
    """A part of an endpoint's log."""

    items: list[DeliveryView]
