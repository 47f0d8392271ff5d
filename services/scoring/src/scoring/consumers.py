"""What scoring learns from events. Handlers keep facts and leave marks; `scoring.scorer` does the work.

Events come in any order and more than once: a fact is kept by its version, an older one is ignored, and whatever can
change points leaves a mark in the same transaction.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from uuid import UUID

import msgspec
from sqlalchemy import Uuid, any_, bindparam, delete, func, select
from sqlalchemy import insert as plain_insert
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from common.consumers import Consumers
from common.contracts.auth import UserDeleted
from common.contracts.ingest import ResultsAmended, ResultsSynced, SeasonSynced, Stint
from common.contracts.leagues import (
    LeagueCreated,
    LeagueJoined,
    LineupsLocked,
    LineupSubmitted,
    TeamCreated,
    former_name,
)
from common.contracts.scoring import AssetKind
from scoring import facts, marks, owners
from scoring.domain import ScoredSession
from scoring.engine import score
from scoring.models import (
    ASSETS,
    LEAGUE_MEMBERS,
    LEAGUES,
    LINEUPS,
    RESULTS,
    ROUND_LOCKS,
    ROUNDS,
    SEASONS,
    TEAMS,
)
from scoring.price_lists import open_prices
from scoring.rules import rule_set_of
from scoring.weekend import Entries, first_change, scoring_sessions

consumers = Consumers("scoring")

Asset = tuple[AssetKind, str]


@consumers.on(SeasonSynced)
async def store_season(event: SeasonSynced, session: AsyncSession) -> None:
    """Keep the calendar and who drives for whom; give new drivers and constructors a price."""
    old_stints = await session.scalar(
        select(SEASONS.c.stints).where(SEASONS.c.season == event.season).with_for_update()
    )
    values = {
        "season": event.season,
        "season_version": event.season_version,
        "simulated": event.simulated,
        "stints": msgspec.to_builtins(event.stints),
    }
    row = insert(SEASONS).values(values)
    newer = row.on_conflict_do_update(
        index_elements=["season"],
        set_={name: row.excluded[name] for name in values},
        where=row.excluded.season_version > SEASONS.c.season_version,
    )
    if await session.scalar(newer.returning(SEASONS.c.season)) is None:
        return
    old_entries = Entries(stints=msgspec.convert(old_stints or [], list[Stint]))
    changed = first_change(
        old_entries, Entries(stints=event.stints), max((race.round for race in event.races), default=0)
    )
    if await _replace_calendar(session, event):
        changed = 1
    if changed is not None:
        await marks.leave(session, event.season, changed)
    drivers = [(AssetKind.DRIVER, driver.driver_id) for driver in event.drivers]
    constructors = [(AssetKind.CONSTRUCTOR, constructor.constructor_id) for constructor in event.constructors]
    await open_prices(session, event.season, drivers + constructors)


async def _replace_calendar(session: AsyncSession, event: SeasonSynced) -> bool:
    """Store the calendar; return whether a race has another round or its sessions another order."""
    columns = (ROUNDS.c.race_id, ROUNDS.c.round, ROUNDS.c.sessions)
    old = await session.execute(select(*columns).where(ROUNDS.c.season == event.season))
    before = {row.race_id: (row.round, list(row.sessions)) for row in old}
    rows = [
        {
            "race_id": race.race_id,
            "season": event.season,
            "round": race.round,
            "name": race.name,
            "sessions": [str(kind) for kind in scoring_sessions(race)],
        }
        for race in event.races
    ]
    await session.execute(delete(ROUNDS).where(ROUNDS.c.season == event.season))
    if rows:
        await session.execute(plain_insert(ROUNDS), rows)
    return before != {str(row["race_id"]): (row["round"], row["sessions"]) for row in rows}


@consumers.on(ResultsSynced, ResultsAmended)
async def store_result(event: ResultsSynced | ResultsAmended, session: AsyncSession) -> None:
    """Keep the highest version of a session's classification. One that cannot be scored is refused at the door."""
    rules = rule_set_of(event.season)
    if rules.of(event.session) is None:
        return
    scored = ScoredSession(
        season=event.season, round=event.round, session=event.session, result_version=event.result_version
    )
    score(scored, event.classification, rules)
    values = {
        "race_id": event.race_id,
        "session": event.session,
        "season": event.season,
        "round": event.round,
        "result_version": event.result_version,
        "classification": msgspec.to_builtins(event.classification),
    }
    row = insert(RESULTS).values(values)
    newer = row.on_conflict_do_update(
        index_elements=["race_id", "session"],
        set_={name: row.excluded[name] for name in values},
        where=row.excluded.result_version > RESULTS.c.result_version,
    )
    if await session.scalar(newer.returning(RESULTS.c.race_id)) is None:
        return
    calendar = await facts.calendar(session, event.season)
    await marks.leave(session, event.season, min(event.round, calendar.get(event.race_id, event.round)))


@consumers.on(LineupsLocked)
async def store_lock(event: LineupsLocked, session: AsyncSession) -> None:
    """Keep when a round was locked: a team made later is not listed in it."""
    values = {
        "race_id": event.race_id,
        "season": event.season,
        "round": event.round,
        "locked_at": event.locked_at,
    }
    row = insert(ROUND_LOCKS).values(values)
    earlier = row.on_conflict_do_update(
        index_elements=["race_id"],
        set_={name: row.excluded[name] for name in values},
        where=row.excluded.locked_at < ROUND_LOCKS.c.locked_at,
    )
    if await session.scalar(earlier.returning(ROUND_LOCKS.c.race_id)) is not None:
        await marks.leave(session, event.season, event.round)


@consumers.batch(TeamCreated)
async def store_team(events: Sequence[TeamCreated], session: AsyncSession) -> None:
    """Keep teams; each stands in every round that was not yet locked when it was made."""
    former = await owners.former(session, {event.user_id for event in events})
    rows = [
        {
            "team_id": event.team_id,
            "user_id": event.user_id,
            "season": event.season,
            "name": former_name(event.team_id) if event.user_id in former else event.name,
            "created_at": event.created_at,
        }
        for event in events
    ]
    kept = insert(TEAMS).on_conflict_do_nothing().returning(TEAMS.c.team_id, TEAMS.c.season, TEAMS.c.created_at)
    new = (await session.execute(kept, rows)).all()
    over = select(ROUND_LOCKS.c.season, ROUND_LOCKS.c.round, ROUND_LOCKS.c.locked_at).where(
        ROUND_LOCKS.c.season.in_({team.season for team in new})
    )
    locks = (await session.execute(over)).all()
    lineups = select(LINEUPS.c.team_id, func.min(LINEUPS.c.effective_round)).where(
        LINEUPS.c.team_id == any_(bindparam("teams", [team.team_id for team in new], type_=ARRAY(Uuid)))
    )
    first_lineups: dict[UUID, int] = dict(tuple(row) for row in await session.execute(lineups.group_by("team_id")))
    stands_from: dict[int, int] = {}
    for team in new:
        locked = {lock.round for lock in locks if lock.season == team.season and lock.locked_at <= team.created_at}
        first_open = next(number for number in range(1, len(locked) + 2) if number not in locked)
        first = min(first_open, first_lineups.get(team.team_id, first_open))
        stands_from[team.season] = min(first, stands_from.get(team.season, first))
    for season, first in sorted(stands_from.items()):
        await marks.leave(session, season, first)


@consumers.batch(LineupSubmitted)
async def store_lineup(events: Sequence[LineupSubmitted], session: AsyncSession) -> None:
    """Keep line-ups; which one plays in a round is decided by versions, not by arrival."""
    slots = await _slots(session, {asset for event in events for asset in _held(event)})
    rows = [
        {
            "team_id": event.team_id,
            "lineup_version": event.lineup_version,
            "season": event.season,
            "effective_round": event.effective_round,
            "slots": [slots[asset] for asset in _held(event)],
        }
        for event in events
    ]
    kept = insert(LINEUPS).on_conflict_do_nothing().returning(LINEUPS.c.season, LINEUPS.c.effective_round)
    plays_from: dict[int, int] = {}
    for season, first in await session.execute(kept, rows):
        plays_from[season] = min(first, plays_from.get(season, first))
    for season, first in sorted(plays_from.items()):
        await marks.leave(session, season, first)


def _held(event: LineupSubmitted) -> list[Asset]:
    """What a line-up holds, in the order given."""
    drivers = [(AssetKind.DRIVER, name) for name in event.drivers]
    return drivers + [(AssetKind.CONSTRUCTOR, name) for name in event.constructors]


async def _slots(session: AsyncSession, held: AbstractSet[Asset]) -> dict[Asset, int]:
    """Number of each asset; one that nobody held before gets one."""
    slots = await _known_slots(session)
    new = sorted(held - slots.keys())
    if new:
        rows = [{"kind": kind, "asset_id": asset_id} for kind, asset_id in new]
        await session.execute(insert(ASSETS).on_conflict_do_nothing(), rows)
        slots = await _known_slots(session)
    return slots


async def _known_slots(session: AsyncSession) -> dict[Asset, int]:
    rows = await session.execute(select(ASSETS.c.slot, ASSETS.c.kind, ASSETS.c.asset_id))
    return {(AssetKind(row.kind), row.asset_id): row.slot for row in rows}


@consumers.on(LeagueCreated)
async def store_league(event: LeagueCreated, session: AsyncSession) -> None:
    """Keep a league: whose leaderboard it is, and who may read it."""
    row = insert(LEAGUES).values(
        league_id=event.league_id,
        name=event.name,
        season=event.season,
        private=event.private,
        owner_id=event.owner_id,
    )
    await session.execute(row.on_conflict_do_nothing())


@consumers.batch(LeagueJoined)
async def store_membership(events: Sequence[LeagueJoined], session: AsyncSession) -> None:
    """Keep memberships, which may come before their league and their team."""
    newest = sorted(events, key=lambda event: event.membership_version)
    latest = {(event.league_id, event.user_id): event for event in newest}
    rows = [
        {
            "league_id": event.league_id,
            "user_id": event.user_id,
            "team_id": event.team_id,
            "membership_version": event.membership_version,
        }
        for event in latest.values()
    ]
    row = insert(LEAGUE_MEMBERS)
    newer = row.on_conflict_do_update(
        index_elements=["league_id", "user_id"],
        set_={name: row.excluded[name] for name in rows[0]},
        where=row.excluded.membership_version > LEAGUE_MEMBERS.c.membership_version,
    )
    await session.execute(newer, rows)


@consumers.on(UserDeleted)
async def forget_owner(event: UserDeleted, session: AsyncSession) -> None:
    """Forget what somebody who was erased called their teams."""
    await owners.forget(session, event.user_id)
