"""The settings of `leagues`."""

from typing import ClassVar

from common.settings import Settings


class LeaguesSettings(Settings, frozen=True, kw_only=True):
    """What every service is told; nothing of its own yet. The rules of the game are in `domain`."""

    prefix: ClassVar[str] = "LEAGUES_"
