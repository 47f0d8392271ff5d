"""Points, read and explained: of a round's assets, of one asset line by line, of a team; and prices."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from common.contracts.ingest import SessionKind
from common.contracts.scoring import AssetKind, AssetPoints
from common.errors import NotFoundError
from scoring import ledger
from scoring.domain import Component, LedgerRow
from scoring.facts import ScoredRound
from scoring.leaderboards import scored_round, snapshot
from scoring.models import ASSETS, LEDGER, LINEUPS, PRICES, SEASONS, TEAMS
from scoring.schemas import (
    AssetScore,
    Explanation,
    LedgerLine,
    Price,
    PriceList,
    RoundScores,
    SessionPoints,
    SessionResult,
    TeamPoints,
    TeamRound,
)
from scoring.weekend import SCORING_SESSIONS

_TEAM_ROUNDS = text("""
SELECT scored.round, scored.race_id, scored.final, scored.score_version, now.round_points, now.total, now.rank
FROM scored_rounds AS scored
JOIN standings AS now ON now.season = scored.season AND now.round = scored.round
    AND now.score_version = scored.score_version AND now.team_id = :team_id
WHERE scored.season = :season ORDER BY scored.round
""")

Asset = tuple[AssetKind, str]


async def round_scores(session: AsyncSession, season: int, number: int) -> RoundScores:
    """Points of every asset in a round, most first."""
    await snapshot(session)
    scored = await _scored(session, season, number)
    by_asset: dict[Asset, list[LedgerRow]] = defaultdict(list)
    for row in await ledger.read(session, season, number):
        by_asset[row.kind, row.asset_id].append(row)
    assets = [_asset_score(kind, asset_id, rows) for (kind, asset_id), rows in by_asset.items()]
    assets.sort(key=lambda one: (-one.points, one.kind, one.asset_id))
    return RoundScores(**_basis(scored), assets=assets)


async def explain(session: AsyncSession, season: int, number: int, kind: AssetKind, asset_id: str) -> Explanation:
    """Every ledger row of an asset in a round."""
    await snapshot(session)
    scored = await _scored(session, season, number)
    rows = [row for row in await ledger.read(session, season, number) if (row.kind, row.asset_id) == (kind, asset_id)]
    if not rows:
        raise NotFoundError("asset_not_scored", "Nobody of that name scored in this round.")
    rows.sort(key=lambda row: (SCORING_SESSIONS.index(row.session), list(Component).index(row.component)))
    return Explanation(
        **_basis(scored),
        kind=kind,
        asset_id=asset_id,
        total=sum(row.points for row in rows),
        rows=list(map(_line, rows)),
    )


async def team_points(session: AsyncSession, team_id: UUID) -> TeamPoints:
    """A team's rounds with what each of its assets gave."""
    await snapshot(session)
    team = (await session.execute(select(TEAMS).where(TEAMS.c.team_id == team_id))).first()
    if team is None:
        raise NotFoundError("unknown_team", "There is no such team.")
    rows = (await session.execute(_TEAM_ROUNDS, {"team_id": team_id, "season": team.season})).all()
    lineups = await _lineups(session, team_id)
    points = await _asset_points(session, team.season, {asset for _, assets in lineups for asset in assets})
    rounds = [
        TeamRound(
            round=row.round,
            race_id=row.race_id,
            provisional=not row.final,
            score_version=row.score_version,
            points=row.round_points,
            total=row.total,
            rank=row.rank,
            assets=[
                AssetPoints(kind=kind, asset_id=asset_id, points=points.get((row.round, kind, asset_id), 0))
                for kind, asset_id in _in_force(lineups, row.round)
            ],
        )
        for row in rows
    ]
    total = rounds[-1].total if rounds else 0
    return TeamPoints(team_id=team_id, team_name=team.name, season=team.season, total=total, rounds=rounds)


async def prices(session: AsyncSession, season: int | None) -> PriceList:
    """Prices of a season as they stand; without a season those of the latest that is known."""
    await snapshot(session)
    season = season or await session.scalar(select(func.max(SEASONS.c.season)))
    rows = await session.execute(
        select(PRICES)
        .where(PRICES.c.season == (season or 0))
        .distinct(PRICES.c.kind, PRICES.c.asset_id)
        .order_by(PRICES.c.kind, PRICES.c.asset_id, PRICES.c.price_version.desc())
    )
    current = sorted(rows.all(), key=lambda row: (row.kind, -row.price, row.asset_id))
    return PriceList(
        season=season,
        price_version=max((row.price_version for row in current), default=None),
        items=[
            Price(kind=AssetKind(row.kind), asset_id=row.asset_id, price=row.price, effective_round=row.effective_round)
            for row in current
        ],
    )


async def _scored(session: AsyncSession, season: int, number: int) -> ScoredRound:
    scored = await scored_round(session, season, number)
    if scored is None:
        raise NotFoundError("round_not_scored", f"Round {number} of {season} has no points yet.")
    return scored


async def _lineups(session: AsyncSession, team_id: UUID) -> list[tuple[int, list[Asset]]]:
    """A team's line-ups, newest first: the round each takes effect in, and what it holds, in the order submitted."""
    names = {
        row.slot: (AssetKind(row.kind), row.asset_id)
        for row in await session.execute(select(ASSETS.c.slot, ASSETS.c.kind, ASSETS.c.asset_id))
    }
    query = select(LINEUPS.c.effective_round, LINEUPS.c.slots).where(LINEUPS.c.team_id == team_id)
    rows = await session.execute(query.order_by(LINEUPS.c.lineup_version.desc()))
    return [(row.effective_round, [names[slot] for slot in row.slots]) for row in rows]


def _in_force(lineups: list[tuple[int, list[Asset]]], number: int) -> list[Asset]:
    return next((assets for effective_round, assets in lineups if effective_round <= number), [])


async def _asset_points(
    session: AsyncSession, season: int, assets: set[Asset]
) -> dict[tuple[int, AssetKind, str], int]:
    rows = await session.execute(
        select(LEDGER.c.round, LEDGER.c.kind, LEDGER.c.asset_id, func.sum(LEDGER.c.points).label("points"))
        .where(LEDGER.c.season == season, LEDGER.c.asset_id.in_({asset_id for _, asset_id in assets}))
        .group_by(LEDGER.c.round, LEDGER.c.kind, LEDGER.c.asset_id)
    )
    return {(row.round, AssetKind(row.kind), row.asset_id): row.points for row in rows}


def _asset_score(kind: AssetKind, asset_id: str, rows: list[LedgerRow]) -> AssetScore:
    by_session: dict[SessionKind, int] = defaultdict(int)
    for row in rows:
        by_session[row.session] += row.points
    return AssetScore(
        kind=kind,
        asset_id=asset_id,
        points=sum(by_session.values()),
        sessions=[
            SessionPoints(session=session, points=by_session[session])
            for session in SCORING_SESSIONS
            if session in by_session
        ],
        missing=any(row.missing for row in rows),
    )


def _line(row: LedgerRow) -> LedgerLine:
    return LedgerLine(
        session=row.session,
        component=row.component,
        quantity=row.quantity,
        points=row.points,
        missing=row.missing,
        explanation=row.explanation,
    )


def _basis(scored: ScoredRound) -> dict[str, Any]:
    """Fields of `ScoreBasis`."""
    return {
        "season": scored.season,
        "round": scored.round,
        "race_id": scored.race_id,
        "score_version": scored.score_version,
        "provisional": not scored.final,
        "scored_at": scored.scored_at,
        "rule_set": scored.rule_set,
        "rule_hash": scored.rule_hash,
        "results": [
            SessionResult(session=kind, result_version=scored.sessions[kind])
            for kind in SCORING_SESSIONS
            if kind in scored.sessions
        ],
    }
