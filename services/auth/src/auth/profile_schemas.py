"""Profiles as clients send and get them."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from auth.domain import FULL_NAME_LENGTH, PASSWORD_LENGTH, USERNAME, USERNAME_LENGTH
from auth.models import LeagueMember, User
from auth.people import Person
from auth.phones import INPUT_LENGTH

Name = Annotated[str, Meta(min_length=USERNAME_LENGTH[0], max_length=USERNAME_LENGTH[1], pattern=USERNAME)]
FullName = Annotated[str, Meta(max_length=FULL_NAME_LENGTH)]
Phone = Annotated[str, Meta(min_length=1, max_length=INPUT_LENGTH, description="+, country and number")]
Known = Annotated[str, Meta(min_length=1, max_length=PASSWORD_LENGTH[1])]
Chosen = Annotated[str, Meta(min_length=PASSWORD_LENGTH[0], max_length=PASSWORD_LENGTH[1])]


class Account(Struct, frozen=True, kw_only=True):
    """An account as its owner sees it."""

    id: UUID
    username: str
    email: str
    email_verified: bool
    full_name: str | None
    phone: str | None
    avatar_url: Annotated[str | None, Meta(description="Path of the picture, null without one")]
    version: Annotated[int, Meta(description="Counts the changes; as `ETag` it goes into `If-Match`")]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, user: User, avatar_url: str | None) -> Self:
        """Show a row."""
        return cls(
            id=user.id,
            username=user.username,
            email=user.email,
            email_verified=user.email_verified_at is not None,
            full_name=user.full_name,
            phone=user.phone,
            avatar_url=avatar_url,
            version=user.version,
            created_at=user.created_at,
            updated_at=user.updated_at,
        )


class ProfileInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays. There is nothing else that the owner decides here."""

    username: Name | UnsetType = UNSET
    full_name: FullName | UnsetType | None = UNSET
    phone: Phone | UnsetType | None = UNSET


class PasswordInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password there is, and the one to come."""

    current_password: Known
    new_password: Chosen


class FarewellInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password, to be sure."""

    current_password: Known


class LeagueLink(Struct, frozen=True, kw_only=True):
    """A league that you are both in, and the team that plays there: look them up at their own addresses."""

    league_id: UUID
    team_id: UUID | None

    @classmethod
    def of(cls, member: LeagueMember) -> Self:
        """Show a membership."""
        return cls(league_id=member.league_id, team_id=member.team_id)


class PublicProfile(Struct, frozen=True, kw_only=True):
    """Somebody as you may see them."""

    id: UUID
    username: str
    full_name: str | None
    avatar_url: str | None
    favorite_team: str | None
    favorite_driver: str | None
    member_since: datetime
    email: Annotated[str | None, Meta(description="For members of a common league, when its owner wants that")]
    shared_leagues: Annotated[list[LeagueLink], Meta(description="Leagues that you are in too")]

    @classmethod
    def of(cls, person: Person, shared: list[LeagueMember], *, show_email: bool) -> Self:
        """Show somebody."""
        user, preferences, avatar_url = person
        return cls(
            id=user.id,
            username=user.username,
            full_name=user.full_name,
            avatar_url=avatar_url,
            favorite_team=preferences.favorite_team if preferences else None,
            favorite_driver=preferences.favorite_driver if preferences else None,
            member_since=user.created_at,
            email=user.email if show_email else None,
            shared_leagues=[LeagueLink.of(member) for member in shared],
        )


class FoundUser(Struct, frozen=True, kw_only=True):
    """Somebody whose name matches."""

    id: UUID
    username: str
    full_name: str | None
    avatar_url: str | None

    @classmethod
    def of(cls, person: Person) -> Self:
        """Show somebody."""
        user = person.user
        return cls(id=user.id, username=user.username, full_name=user.full_name, avatar_url=person.avatar_url)


class FoundUsers(Struct, frozen=True, kw_only=True):
    """Whom a search found, the best match first."""

    items: list[FoundUser]
