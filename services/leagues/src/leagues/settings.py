"""The settings of `leagues`."""

from typing import Annotated, ClassVar

from common.settings import Settings, described


class LeaguesSettings(Settings, frozen=True, kw_only=True):
    """What every service is told, and who may open leagues. The rules of the game are in `domain`."""

    prefix: ClassVar[str] = "LEAGUES_"

    verified_only: Annotated[bool, described("Only who has proved an e-mail address may open a league")] = False
