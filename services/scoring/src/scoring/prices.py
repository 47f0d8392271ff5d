"""Opening prices: what an asset costs before a season's first race, in tenths of a million."""

from functools import lru_cache
from importlib.resources import files
from typing import Annotated

import msgspec

from common.contracts.scoring import AssetKind

Price = Annotated[int, msgspec.Meta(gt=0, le=340)]
"""Tenths of a million."""

DEFAULT_PRICES = {AssetKind.DRIVER: 80, AssetKind.CONSTRUCTOR: 120}
"""For an asset that its season's list does not name, or a season without a list: $8.0M and $12.0M. Five such drivers
and two such constructors cost $64.0M, so a season without a list can be played, and a late entry is affordable."""


class OpeningPrices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One season's list, a file ``prices/opening-<season>.toml``."""

    season: int
    drivers: dict[str, Price]
    constructors: dict[str, Price]


@lru_cache(maxsize=64)
def opening_prices(season: int) -> OpeningPrices:
    """Load the list of a season; empty for a season that has none."""
    file = files("scoring") / "prices" / f"opening-{season}.toml"
    if not file.is_file():
        return OpeningPrices(season=season, drivers={}, constructors={})
    return msgspec.toml.decode(file.read_text(encoding="utf-8"), type=OpeningPrices)


def opening_price(season: int, kind: AssetKind, asset_id: str) -> int:
    """Tell what an asset costs before the first race of ``season``, in tenths of a million."""
    prices = opening_prices(season)
    listed = prices.drivers if kind is AssetKind.DRIVER else prices.constructors
    return listed.get(asset_id, DEFAULT_PRICES[kind])
