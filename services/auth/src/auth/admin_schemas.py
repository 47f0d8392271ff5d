"""Admins, and what they see, as clients send and get them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from auth import models
from auth.access_token_routes import Token
from auth.admin_scopes import ADMIN_SCOPES
from auth.admins import NewAdmin
from auth.audit_list import EntryView
from auth.domain import EMAIL_LENGTH, FULL_NAME_LENGTH, PASSWORD_LENGTH, USERNAME, USERNAME_LENGTH
from auth.preference_schemas import PreferencesView
from auth.user_list import Found
from common.http import Page

Username = Annotated[str, Meta(min_length=USERNAME_LENGTH[0], max_length=USERNAME_LENGTH[1], pattern=USERNAME)]
Email = Annotated[str, Meta(min_length=EMAIL_LENGTH[0], max_length=EMAIL_LENGTH[1])]
NewPassword = Annotated[str, Meta(min_length=PASSWORD_LENGTH[0], max_length=PASSWORD_LENGTH[1])]
FullName = Annotated[str, Meta(max_length=FULL_NAME_LENGTH)]
Scopes = Annotated[
    list[Annotated[str, Meta(max_length=40)]],
    Meta(max_length=2 * len(ADMIN_SCOPES), description=f"Of: {', '.join(ADMIN_SCOPES)}"),
]
MOST_AT_ONCE = 100


class AdminInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new admin."""

    username: Username
    email: Email
    password: NewPassword
    scopes: Scopes

    def new(self) -> NewAdmin:
        """Return who it is to be."""
        return NewAdmin(username=self.username, email=self.email, scopes=frozenset(self.scopes))


class ScopesInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an admin may do from now on."""

    scopes: Scopes


class AdminView(Struct, frozen=True, kw_only=True):
    """An admin."""

    id: UUID
    username: str
    email: str
    scopes: list[str]
    created_at: datetime
    password_changed_at: datetime | None
    deactivated_at: datetime | None

    @classmethod
    def of(cls, admin: models.Admin) -> Self:
        """Show a row."""
        return cls(**{name: getattr(admin, name) for name in cls.__struct_fields__})


class AdminList(Struct, frozen=True, kw_only=True):
    """All admins, the oldest first."""

    items: list[AdminView]


class UserView(Struct, frozen=True, kw_only=True):
    """An account in a list."""

    id: UUID
    username: str
    email: str
    full_name: str | None
    phone: str | None
    created_at: datetime
    updated_at: datetime
    version: int
    email_verified_at: datetime | None
    password_changed_at: datetime | None
    must_reset_password: bool
    deactivated_at: datetime | None
    deleted_at: datetime | None
    locked_until: Annotated[datetime | None, Meta(description="Of the longest lock; owners may get in all the same")]

    @classmethod
    def of(cls, found: Found) -> Self:
        """Show a row."""
        return cls(**user_fields(found))


def user_fields(found: Found) -> dict[str, Any]:
    """Return what a list shows of an account."""
    names = [name for name in UserView.__struct_fields__ if name != "locked_until"]
    return {**{name: getattr(found.user, name) for name in names}, "locked_until": found.locked_until}


class UserPage(Page, frozen=True, kw_only=True):
    """A part of the list of accounts."""

    items: list[UserView]


class SessionView(Struct, frozen=True, kw_only=True):
    """A login that is good still."""

    id: UUID
    device: str | None
    address: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, row: models.LoginSession) -> Self:
        """Show a row."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})


class LockView(Struct, frozen=True, kw_only=True):
    """Wrong passwords from one place."""

    origin: Annotated[str, Meta(description="`stranger`, `address:…` or `device:…`")]
    failures: int
    last_at: datetime
    locked_until: datetime | None

    @classmethod
    def of(cls, row: models.Guard) -> Self:
        """Show a row."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})


class UserDetail(UserView, frozen=True, kw_only=True):
    """Everything about an account that an admin sees."""

    sessions: list[SessionView]
    tokens: list[Token]
    locks: list[LockView]
    preferences: PreferencesView


class UserPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays. A new address counts as unproved."""

    username: Username | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    full_name: FullName | UnsetType | None = UNSET


class BulkAction(StrEnum):
    """What can be done to many accounts at once."""

    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    LOGOUT = "logout"


class BulkInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something for many accounts."""

    action: BulkAction
    user_ids: Annotated[list[UUID], Meta(min_length=1, max_length=MOST_AT_ONCE)]


class BulkOutcome(Struct, frozen=True, kw_only=True):
    """What became of one of them."""

    user_id: UUID
    outcome: Annotated[str, Meta(description="`done`, `unchanged`, or the code of what stands against it")]


class BulkOutcomes(Struct, frozen=True, kw_only=True):
    """What became of each, in the order in which they were named."""

    items: list[BulkOutcome]


class AuditPage(Struct, frozen=True, kw_only=True):
    """A part of the audit log, the newest first."""

    items: list[EntryView]
    next_before: Annotated[int | None, Meta(description="Give it as `before` for what is older; null at the end")]
