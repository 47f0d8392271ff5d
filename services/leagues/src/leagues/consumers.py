"""The events that `leagues` listens to."""

from sqlalchemy.ext.asyncio import AsyncSession

from common.consumers import Consumers
from common.contracts.auth import UserRegistered
from common.contracts.ingest import SeasonSynced, SessionStarted
from common.contracts.scoring import PricesChanged
from leagues import projections

consumers = Consumers("leagues")


@consumers.on(SeasonSynced)
async def project_season(event: SeasonSynced, session: AsyncSession) -> None:
    """Take over the calendar and the entry list, and set the locks."""
    await projections.sync_season(session, event)


@consumers.on(SessionStarted)
async def lock_round(event: SessionStarted, session: AsyncSession) -> None:
    """Lock the line-ups of a round whose session runs."""
    await projections.lock_round(session, event)


@consumers.on(PricesChanged)
async def project_prices(event: PricesChanged, session: AsyncSession) -> None:
    """Take over a price list."""
    await projections.add_prices(session, event)


@consumers.on(UserRegistered)
async def project_user(event: UserRegistered, session: AsyncSession) -> None:
    """Take over a user's name."""
    await projections.add_user(session, event)
