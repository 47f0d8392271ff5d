"""Scoring a round: load the facts, compute ledger and standings, publish what changed, all in one transaction.

Every step starts from the facts alone and replaces what was there, so any order of events, any event delivered twice
and a crash at any instruction lead to the same points.
"""

from collections.abc import Sequence

import msgspec
from prometheus_client import Counter, Histogram
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock, outbox, telemetry
from common.contracts.ingest import SessionKind
from common.contracts.scoring import AssetPoints, LeaderboardUpdated, RaceScored, SessionVersion
from common.log import get_logger
from scoring import facts, ledger, marks, standings
from scoring.domain import LedgerRow
from scoring.engine import asset_points
from scoring.facts import ScoredRound, SeasonFacts
from scoring.models import SCORED_ROUNDS
from scoring.rules import RuleSet, rule_set_of
from scoring.standings import Version, Written
from scoring.weekend import Result, round_ledger

log = get_logger(__name__)

LEAGUES_AT_ONCE = 500
ROUND_SECONDS = Histogram(
    "scoring_round_duration_seconds",
    "Time to score one round for every team",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
TEAMS_SCORED = Counter("scoring_teams_scored_total", "Team rounds that were computed and stored")
NO_STANDINGS = Written(teams=0, points_mark="", standings_mark="")


async def score_next(session: AsyncSession, season: int, *, league_events: int) -> int | None:
    """Take a season's marks and score the first round they ask for; leave a mark for the rounds after it.

    Returns the round, or nothing when no round has anything to score. One round for each transaction: each is whole
    when it commits, and a crash costs at most one.
    """
    taken = await marks.take(session, season)
    if taken is None:
        return None
    known = await facts.season_facts(session, season)
    waiting = known.rounds_from(taken.start)
    if not waiting:
        return None
    first, others = next(iter(taken.causes), None), taken.causes[1:]
    with telemetry.span("score round", traceparent=first, more=others), ROUND_SECONDS.time():
        await _score_round(session, known, waiting[0], league_events)
        if waiting[1:]:
            await marks.leave(session, season, waiting[1])
    return waiting[0]


async def _score_round(session: AsyncSession, known: SeasonFacts, number: int, league_events: int) -> None:
    old = known.scored.get(number)
    race_id = known.races.get(number)
    if race_id is None:
        if old and old.sessions:
            await _take_back(session, old)
        return
    rules = rule_set_of(known.season)
    results = await facts.results(session, race_id)
    rows = await _ledger_of(session, known.season, number, race_id, results, rules)
    ledger_changed = await ledger.replace(session, known.season, number, rows)
    version = Version(season=known.season, round=number, score_version=old.score_version + 1 if old else 1)
    savepoint = await session.begin_nested()
    before = known.before(number)
    written = await standings.write(
        session,
        version,
        asset_points(rows),
        before.version if before else None,
        await facts.locked_at(session, race_id),
    )
    new = _scored(version, race_id, rules, results, written)
    points_changed = ledger_changed or old is None or _points_of(old) != _points_of(new)
    if old and not points_changed and old.standings_mark == new.standings_mark:
        await savepoint.rollback()
        return
    await savepoint.commit()
    TEAMS_SCORED.inc(written.teams)
    await _store(session, new)
    if points_changed:
        await outbox.publish(session, _race_scored(new, rows))
    await _publish_leaderboards(session, new, league_events)
    log.info("round scored", season=new.season, round=number, score_version=new.score_version, teams=new.teams)


async def _ledger_of(
    session: AsyncSession, season: int, number: int, race_id: str, results: Sequence[Result], rules: RuleSet
) -> list[LedgerRow]:
    entries = await facts.entries(session, season)
    order = await facts.session_order(session, race_id)
    return round_ledger(season, number, results, entries, rules, order)


async def _take_back(session: AsyncSession, old: ScoredRound) -> None:
    """Empty a round whose race has become another one; its versions go on, so that subscribers notice."""
    await ledger.replace(session, old.season, old.round, [])
    await standings.drop(session, old.season, old.round)
    new = msgspec.structs.replace(
        old,
        score_version=old.score_version + 1,
        sessions={},
        final=False,
        teams=0,
        points_mark="",
        standings_mark="",
        scored_at=clock.now(),
    )
    await _store(session, new)
    await outbox.publish(session, _race_scored(new, []))
    log.info("round taken back", season=old.season, round=old.round, race_id=old.race_id)


async def _store(session: AsyncSession, new: ScoredRound) -> None:
    row = insert(SCORED_ROUNDS).values(msgspec.to_builtins(new) | {"scored_at": new.scored_at})
    changed = {name: row.excluded[name] for name in new.__struct_fields__ if name not in {"season", "round"}}
    await session.execute(row.on_conflict_do_update(index_elements=["season", "round"], set_=changed))


async def _publish_leaderboards(session: AsyncSession, new: ScoredRound, league_events: int) -> None:
    leaders = await standings.leaders(session, new.version)
    await outbox.publish(
        session,
        LeaderboardUpdated(
            season=new.season,
            round=new.round,
            league_id=None,
            score_version=new.score_version,
            members=new.teams,
            leaders=leaders,
            updated_at=new.scored_at,
        ),
    )
    leagues = await standings.largest_leagues(session, new.season, league_events)
    for start in range(0, len(leagues), LEAGUES_AT_ONCE):
        tops = await standings.league_tops(session, new.version, leagues[start : start + LEAGUES_AT_ONCE])
        await outbox.publish_all(
            session,
            [
                LeaderboardUpdated(
                    season=new.season,
                    round=new.round,
                    league_id=top.league_id,
                    score_version=new.score_version,
                    members=top.members,
                    leaders=top.leaders,
                    updated_at=new.scored_at,
                )
                for top in tops
            ],
        )


def _scored(version: Version, race_id: str, rules: RuleSet, results: Sequence[Result], written: Written) -> ScoredRound:
    return ScoredRound(
        season=version.season,
        round=version.round,
        race_id=race_id,
        score_version=version.score_version,
        rule_set=rules.name,
        rule_hash=rules.content_hash,
        sessions={result.session: result.result_version for result in results},
        final=any(result.session is SessionKind.RACE for result in results),
        teams=written.teams,
        points_mark=written.points_mark,
        standings_mark=written.standings_mark,
        scored_at=clock.now(),
    )


def _points_of(one: ScoredRound) -> tuple[str, str, str, dict[SessionKind, int], str]:
    """What makes a round's own points, whatever the rounds before it gave."""
    return one.race_id, one.rule_set, one.rule_hash, one.sessions, one.points_mark


def _race_scored(new: ScoredRound, rows: Sequence[LedgerRow]) -> RaceScored:
    return RaceScored(
        season=new.season,
        round=new.round,
        race_id=new.race_id,
        score_version=new.score_version,
        rule_set=new.rule_set,
        sessions=[
            SessionVersion(session=kind, result_version=version) for kind, version in sorted(new.sessions.items())
        ],
        final=new.final,
        assets=[
            AssetPoints(kind=kind, asset_id=asset_id, points=points)
            for (kind, asset_id), points in sorted(asset_points(rows).items())
        ],
        teams=new.teams,
        scored_at=new.scored_at,
    )
