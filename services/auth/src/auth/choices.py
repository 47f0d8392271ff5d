"""What somebody likes: which news through which channel, how to be seen, how to be drafted for. Values and rules."""

import re
import zoneinfo
from enum import StrEnum
from functools import cache

import msgspec

from common.contracts.auth import NewsChannels, PickStrategy, Visibility

LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:-([A-Za-z]{4}))?(?:-([A-Za-z]{2}|[0-9]{3}))?")
"""Language, script and region of a language tag (BCP 47); variants and extensions mean nothing here."""
TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)"
NOT_A_PLACE = frozenset({"Factory", "localtime"})
"""Entries of the database that mean another zone on each machine, or none."""


class Theme(StrEnum):
    """How the client looks."""

    LIGHT = "light"
    DARK = "dark"
    SYSTEM = "system"


class Channels(msgspec.Struct, frozen=True, kw_only=True):
    """Through which channels one kind of news comes."""

    in_app: bool
    email: bool
    push: bool
    webhook: bool


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """Kind of news by channel."""

    race_completed: Channels
    draft_turn: Channels
    league_invitations: Channels
    team_updates: Channels


class QuietHours(msgspec.Struct, frozen=True, kw_only=True, rename={"begin": "from", "end": "until"}):
    """Local times ``HH:MM`` between which only what cannot wait is sent; may span midnight."""

    begin: str
    end: str


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be chosen. ``notify_…`` switches a kind of news off, whatever its channels say."""

    notify_race_completed: bool
    notify_draft_turn: bool
    notify_league_invitations: bool
    notify_team_updates: bool
    notifications: Matrix
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

    def routes(self) -> list[NewsChannels]:
        """List each kind of news with the channels it goes through, which are none when it is switched off."""
        return [NewsChannels(kind=kind, channels=self._channels(kind)) for kind in Matrix.__struct_fields__]

    def _channels(self, kind: str) -> list[str]:
        if not getattr(self, f"notify_{kind}"):
            return []
        channels: Channels = getattr(self.notifications, kind)
        return [name for name, on in msgspec.structs.asdict(channels).items() if on]


_TOLD = Channels(in_app=True, email=True, push=False, webhook=False)

DEFAULTS = Choices(
    notify_race_completed=True,
    notify_draft_turn=True,
    notify_league_invitations=True,
    notify_team_updates=True,
    notifications=Matrix(race_completed=_TOLD, draft_turn=_TOLD, league_invitations=_TOLD, team_updates=_TOLD),
    quiet_hours=None,
    theme=Theme.SYSTEM,
    language="en",
    timezone="UTC",
    profile_visibility=Visibility.PUBLIC,
    show_email_to_league_members=False,
    auto_pick_enabled=True,
    auto_pick_strategy=PickStrategy.HIGHEST_RANKED,
    favorite_team=None,
    favorite_driver=None,
)
"""Those of somebody who has chosen nothing."""


def language_tag(written: str) -> str | None:
    """Return a language tag in its usual capitals, ``de``, ``pt-BR``, ``zh-Hant-TW``; nothing when it is none."""
    found = LANGUAGE.fullmatch(written)
    if found is None:
        return None
    language, script, region = found.groups()
    parts = [language.lower(), script and script.title(), region and region.upper()]
    return "-".join(part for part in parts if part)


@cache
def time_zones() -> frozenset[str]:
    """Name the zones of the IANA database."""
    return frozenset(zoneinfo.available_timezones()) - NOT_A_PLACE
