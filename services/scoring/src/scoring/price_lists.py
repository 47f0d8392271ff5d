"""Price lists: what an asset costs, from which round on."""

from collections.abc import Iterable

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from common import outbox
from common.contracts.scoring import AssetKind, AssetPrice, PricesChanged
from scoring.models import PRICES, ROUND_LOCKS
from scoring.prices import opening_price


async def open_prices(session: AsyncSession, season: int, assets: Iterable[tuple[AssetKind, str]]) -> None:
    """Give an opening price to each asset that has none, and publish them as one list.

    The caller holds the season's row, so two lists of a season never get the same version.
    """
    priced = await session.execute(select(PRICES.c.kind, PRICES.c.asset_id).where(PRICES.c.season == season))
    known = {(AssetKind(row.kind), row.asset_id) for row in priced}
    new = sorted(set(assets) - known)
    if not new:
        return
    version = 1 + (await session.scalar(select(func.max(PRICES.c.price_version)).where(PRICES.c.season == season)) or 0)
    locked = await session.scalar(select(func.max(ROUND_LOCKS.c.round)).where(ROUND_LOCKS.c.season == season)) or 0
    prices = [AssetPrice(kind=kind, asset_id=name, price=opening_price(season, kind, name)) for kind, name in new]
    rows = [
        {
            "season": season,
            "kind": one.kind,
            "asset_id": one.asset_id,
            "price_version": version,
            "effective_round": locked + 1,
            "price": one.price,
        }
        for one in prices
    ]
    await session.execute(insert(PRICES), rows)
    changed = PricesChanged(season=season, effective_round=locked + 1, price_version=version, prices=prices)
    await outbox.publish(session, changed)
