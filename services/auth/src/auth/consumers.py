"""The events that `auth` listens to."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from auth import members
from common.consumers import Consumers
from common.contracts.leagues import LeagueJoined

consumers = Consumers("auth")


@consumers.batch(LeagueJoined)
async def learn_members(events: Sequence[LeagueJoined], session: AsyncSession) -> None:
    """Keep who is in which league."""
    await members.learn(session, events)
