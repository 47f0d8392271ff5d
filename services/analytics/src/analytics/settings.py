"""The settings of `analytics`."""

from typing import ClassVar

from common.settings import Settings


class AnalyticsSettings(Settings, frozen=True, kw_only=True):
    """What every service is told; nothing of its own yet."""

    prefix: ClassVar[str] = "ANALYTICS_"
