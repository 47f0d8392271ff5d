"""The events that `leagues` listens to."""

from sqlalchemy.ext.asyncio import AsyncSession

from common.consumers import Consumers
from common.contracts.auth import UserActivated, UserDeactivated, UserDeleted, UserRegistered, UserUpdated
from common.contracts.ingest import SeasonSynced, SessionStarted
from common.contracts.scoring import PricesChanged
from leagues import projections

consumers = Consumers("leagues")

FIRST_VERSION = 1
"""Of a profile: the one that `user.registered` tells of."""


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
    """Take over a user's first name."""
    await projections.name_user(session, event.user_id, event.username, FIRST_VERSION)


@consumers.on(UserUpdated)
async def project_name(event: UserUpdated, session: AsyncSession) -> None:
    """Take over a user's new name."""
    await projections.name_user(session, event.user_id, event.username, event.profile_version)


@consumers.on(UserDeactivated)
async def hide_user(event: UserDeactivated, session: AsyncSession) -> None:
    """Show the name of somebody who is blocked, or has deleted the account, no more."""
    await projections.set_active(session, event.user_id, active=False, at=event.deactivated_at)


@consumers.on(UserActivated)
async def show_user(event: UserActivated, session: AsyncSession) -> None:
    """Show the name of somebody who is back."""
    await projections.set_active(session, event.user_id, active=True, at=event.activated_at)


@consumers.on(UserDeleted)
async def erase_user(event: UserDeleted, session: AsyncSession) -> None:
    """Forget who somebody was."""
    await projections.erase_user(session, event.user_id)
