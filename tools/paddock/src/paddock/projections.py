"""What can be rebuilt from events: which tables, by which handlers, and what follows from them.

Not here: what a service decides itself, such as locks, prices and who is in which league. That has no other source.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncSession

import analytics.consumers
import analytics.models
import leagues.consumers
import leagues.models
import scoring.consumers
import scoring.models
from common.consumers import Consumer, Consumers
from scoring import rebuilding

Step = Callable[[AsyncSession], Awaitable[None]]


async def nothing(_: AsyncSession) -> None:
    """Do nothing: no table follows from the others."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Tables of a service that follow from events.

    Handlers run as they do for live events, in a schema beside the service's own that has all of its tables. Of these
    the ``tables`` take the place of the real ones in the end; the others, an outbox among them, are thrown away.
    """

    name: str
    """``service.projection``."""
    metadata: MetaData
    consumers: Consumers
    handlers: tuple[Callable[..., Any], ...]
    tables: tuple[str, ...]
    shared: tuple[str, ...] = ()
    """Tables that handlers use in place: what they number stays numbered as it is."""
    copied: tuple[str, ...] = ()
    """Tables that handlers find filled: what was decided is not decided anew."""
    derive: Step = nothing
    """Compute what follows from the rebuilt tables; called again whenever they have changed."""
    adopt: Step = nothing
    """Reconcile what was derived with what stands, in the transaction of the swap."""

    @property
    def service(self) -> str:
        """Whose tables they are."""
        return self.consumers.service

    def feeding(self) -> list[Consumer]:
        """Return the consumers whose handlers fill the tables."""
        return [consumer for consumer in self.consumers.all if consumer.handle in self.handlers]


PROJECTIONS = (
    Projection(
        name="analytics.history",
        metadata=analytics.models.metadata,
        consumers=analytics.consumers.consumers,
        handlers=(analytics.consumers.store_season, analytics.consumers.store_result),
        tables=("seasons", "races", "sessions", "drivers", "constructors", "results", "cars"),
    ),
    Projection(
        name="leagues.calendar",
        metadata=leagues.models.metadata,
        consumers=leagues.consumers.consumers,
        handlers=(leagues.consumers.project_season,),
        tables=("seasons", "rounds", "assets", "seats"),
        copied=("locks",),
    ),
    Projection(
        name="leagues.prices",
        metadata=leagues.models.metadata,
        consumers=leagues.consumers.consumers,
        handlers=(leagues.consumers.project_prices,),
        tables=("prices",),
    ),
    Projection(
        name="leagues.users",
        metadata=leagues.models.metadata,
        consumers=leagues.consumers.consumers,
        handlers=(
            leagues.consumers.project_user,
            leagues.consumers.project_name,
            leagues.consumers.hide_user,
            leagues.consumers.show_user,
            leagues.consumers.erase_user,
        ),
        tables=("users",),
    ),
    Projection(
        name="scoring.leaderboard",
        metadata=scoring.models.metadata,
        consumers=scoring.consumers.consumers,
        handlers=(
            scoring.consumers.store_season,
            scoring.consumers.store_result,
            scoring.consumers.store_lock,
            scoring.consumers.store_team,
            scoring.consumers.forget_owner,
            scoring.consumers.store_lineup,
            scoring.consumers.store_league,
            scoring.consumers.store_membership,
        ),
        tables=(
            *("seasons", "rounds", "round_locks", "results", "teams", "lineups", "leagues", "league_members"),
            "former_owners",
            *("ledger", "scored_rounds", "standings"),
        ),
        shared=("assets",),
        copied=("prices",),
        derive=rebuilding.score_all,
        adopt=rebuilding.adopt,
    ),
)
