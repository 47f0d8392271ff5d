"""The facts a round is scored from, as events have told them so far."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from common.contracts.ingest import SessionKind, Stint
from scoring.models import RESULTS, ROUND_LOCKS, ROUNDS, SCORED_ROUNDS, SEASONS, struct_of
from scoring.standings import Version
from scoring.weekend import Entries, Result, race_of_round


class ScoredRound(msgspec.Struct, frozen=True, kw_only=True):
    """What a round was last scored from, and what came of it; see `scoring.models.SCORED_ROUNDS`."""

    season: int
    round: int
    race_id: str
    score_version: int
    rule_set: str
    rule_hash: str
    sessions: dict[SessionKind, int]
    final: bool
    teams: int
    points_mark: str
    standings_mark: str
    scored_at: datetime

    @property
    def version(self) -> Version:
        """The standings that hold."""
        return Version(season=self.season, round=self.round, score_version=self.score_version)


class SeasonFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which rounds of a season have results, and which have been scored."""

    season: int
    races: dict[int, str]
    """Round to ``race_id`` of the rounds that have results."""
    scored: dict[int, ScoredRound]

    def rounds_from(self, start: int) -> list[int]:
        """Rounds from ``start`` on that have something to score or to take back, in order."""
        return sorted(number for number in self.races.keys() | self.scored.keys() if number >= start)

    def before(self, number: int) -> ScoredRound | None:
        """The last round before ``number`` that has standings."""
        earlier = [one for one in self.scored.values() if one.round < number and one.sessions]
        return max(earlier, key=lambda one: one.round, default=None)


async def season_facts(session: AsyncSession, season: int) -> SeasonFacts:
    """Load what there is to score in a season."""
    told = await session.execute(select(RESULTS.c.race_id, RESULTS.c.round).where(RESULTS.c.season == season))
    races = race_of_round(await calendar(session, season), [(row.race_id, row.round) for row in told])
    scored = await session.execute(select(SCORED_ROUNDS).where(SCORED_ROUNDS.c.season == season))
    return SeasonFacts(
        season=season,
        races=races,
        scored={row.round: struct_of(row, ScoredRound) for row in scored},
    )


async def calendar(session: AsyncSession, season: int) -> Mapping[str, int]:
    """``race_id`` to round, as the season stands."""
    rows = await session.execute(select(ROUNDS.c.race_id, ROUNDS.c.round).where(ROUNDS.c.season == season))
    return {row.race_id: row.round for row in rows}


async def entries(session: AsyncSession, season: int) -> Entries:
    """Who drives for whom; empty while nothing is known of the season."""
    stints = await session.scalar(select(SEASONS.c.stints).where(SEASONS.c.season == season))
    return Entries(stints=msgspec.convert(stints or [], list[Stint]))


async def results(session: AsyncSession, race_id: str) -> list[Result]:
    """Latest classification of every session of a race that has one."""
    columns = (RESULTS.c.session, RESULTS.c.result_version, RESULTS.c.classification)
    rows = await session.execute(select(*columns).where(RESULTS.c.race_id == race_id).order_by(RESULTS.c.session))
    return [struct_of(row, Result) for row in rows]


async def session_order(session: AsyncSession, race_id: str) -> list[SessionKind]:
    """Scoring sessions of a race in order of their starts; empty while the calendar is not known."""
    kinds = await session.scalar(select(ROUNDS.c.sessions).where(ROUNDS.c.race_id == race_id))
    return [SessionKind(kind) for kind in kinds or []]


async def locked_at(session: AsyncSession, race_id: str) -> datetime | None:
    """When line-ups of a race were locked; nothing while they are open, as far as is known."""
    return await session.scalar(select(ROUND_LOCKS.c.locked_at).where(ROUND_LOCKS.c.race_id == race_id))
