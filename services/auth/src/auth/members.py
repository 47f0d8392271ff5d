"""Who is in which league, learned from `league.joined`: it decides who sees a profile that shows in leagues only.

Kept here rather than asked of `leagues` for each profile, because a search looks at many people at once, and because a
profile must not vanish while `leagues` is away.
"""

from collections.abc import Sequence

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.models import LeagueMember
from common.contracts.leagues import LeagueJoined

_FIELDS = ("league_id", "user_id", "team_id", "membership_version")


async def learn(session: AsyncSession, events: Sequence[LeagueJoined]) -> None:
    """Keep the newest version of each membership, in whatever order they come."""
    ordered = sorted(events, key=lambda event: event.membership_version)
    latest = {(event.user_id, event.league_id): event for event in ordered}
    rows = [{name: getattr(latest[key], name) for name in _FIELDS} for key in sorted(latest)]
    row = insert(LeagueMember)
    newer = row.on_conflict_do_update(
        index_elements=[LeagueMember.user_id, LeagueMember.league_id],
        set_={name: row.excluded[name] for name in ("team_id", "membership_version")},
        where=row.excluded.membership_version > LeagueMember.membership_version,
    )
    await session.execute(newer, rows)
