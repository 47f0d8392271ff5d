"""Preferences as clients send and get them."""

from typing import Annotated, Self

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from auth.choices import TIME, Choices, Matrix, QuietHours, Theme
from common.contracts.auth import PickStrategy, Visibility

AssetId = Annotated[str, Meta(min_length=1, max_length=64)]
Driver = Annotated[AssetId | None, Meta(description="A `driver_id` of `/api/v1/drivers`")]
Team = Annotated[AssetId | None, Meta(description="A `constructor_id` of `/api/v1/constructors`")]
Moment = Annotated[str, Meta(pattern=TIME, description="HH:MM, local time")]


class ChannelsInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Channels to switch on or off."""

    in_app: bool | UnsetType = UNSET
    email: bool | UnsetType = UNSET
    push: bool | UnsetType = UNSET
    webhook: bool | UnsetType = UNSET


class MatrixInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kinds of news whose channels change."""

    race_completed: ChannelsInput | UnsetType = UNSET
    draft_turn: ChannelsInput | UnsetType = UNSET
    league_invitations: ChannelsInput | UnsetType = UNSET
    team_updates: ChannelsInput | UnsetType = UNSET


class QuietHoursInput(
    QuietHours, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"begin": "from", "end": "until"}
):
    """Hours to be left alone in; from late to early spans midnight."""

    begin: Moment
    end: Moment


class PreferencesInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays."""

    notify_race_completed: bool | UnsetType = UNSET
    notify_draft_turn: bool | UnsetType = UNSET
    notify_league_invitations: bool | UnsetType = UNSET
    notify_team_updates: bool | UnsetType = UNSET
    notifications: MatrixInput | UnsetType = UNSET
    quiet_hours: QuietHoursInput | UnsetType | None = UNSET
    theme: Theme | UnsetType = UNSET
    language: Annotated[str, Meta(max_length=35, description="BCP 47: de, pt-BR, zh-Hant-TW")] | UnsetType = UNSET
    timezone: Annotated[str, Meta(max_length=64, description="Of the IANA database")] | UnsetType = UNSET
    profile_visibility: Visibility | UnsetType = UNSET
    show_email_to_league_members: bool | UnsetType = UNSET
    auto_pick_enabled: bool | UnsetType = UNSET
    auto_pick_strategy: PickStrategy | UnsetType = UNSET
    favorite_team: Team | UnsetType = UNSET
    favorite_driver: Driver | UnsetType = UNSET


class TasteInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The few preferences that a client sets first; what is left out stays."""

    favorite_team: Team | UnsetType = UNSET
    favorite_driver: Driver | UnsetType = UNSET
    theme: Theme | UnsetType = UNSET

    def preferences(self) -> PreferencesInput:
        """Return it as what it is a part of."""
        return PreferencesInput(**msgspec.structs.asdict(self))


class PreferencesView(Struct, frozen=True, kw_only=True):
    """Everything somebody has chosen, or the defaults."""

    notify_race_completed: bool
    notify_draft_turn: bool
    notify_league_invitations: bool
    notify_team_updates: bool
    notifications: Annotated[Matrix, Meta(description="By kind of news, the channels it comes through")]
    quiet_hours: QuietHours | None
    theme: Theme
    language: str
    timezone: str
    profile_visibility: Visibility
    show_email_to_league_members: bool
    auto_pick_enabled: bool
    auto_pick_strategy: PickStrategy
    favorite_team: str | None
    favorite_driver: str | None

    @classmethod
    def of(cls, choices: Choices) -> Self:
        """Show choices."""
        return cls(**msgspec.structs.asdict(choices))
