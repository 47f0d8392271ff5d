"""The ledger's storage: the rows of a round are replaced as a whole, and only when they differ."""

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from scoring.domain import LedgerRow
from scoring.models import LEDGER, struct_of


async def read(session: AsyncSession, season: int, number: int) -> list[LedgerRow]:
    """Read every row of a round, in no particular order."""
    rows = await session.execute(select(LEDGER).where(LEDGER.c.season == season, LEDGER.c.round == number))
    return [struct_of(row, LedgerRow) for row in rows]


async def replace(session: AsyncSession, season: int, number: int, rows: list[LedgerRow]) -> bool:
    """Make the ledger of a round hold exactly ``rows``; return whether that changed anything."""
    stored = await read(session, season, number)
    if sorted(stored, key=_order) == sorted(rows, key=_order):
        return False
    await session.execute(delete(LEDGER).where(LEDGER.c.season == season, LEDGER.c.round == number))
    if rows:
        await session.execute(insert(LEDGER), [msgspec.to_builtins(row) for row in rows])
    return True


def _order(row: LedgerRow) -> tuple[str, str, str, str]:
    return row.session, row.kind, row.asset_id, row.component
