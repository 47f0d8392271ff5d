"""The events that `webhooks` listens to: those it sends on, and those that tell who may read what, and who is there."""

from datetime import datetime

import msgspec
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from common.consumers import Consumers, Delivered
from common.contracts import REGISTRY, Envelope, check_type, decode, type_of
from common.contracts.auth import UserActivated, UserDeactivated, UserDeleted
from common.contracts.leagues import LeagueCreated, LeagueJoined
from common.contracts.scoring import LeaderboardUpdated
from common.errors import PoisonError
from webhooks import people, queries, queue
from webhooks.domain import Subject
from webhooks.models import League, Member
from webhooks.rendering import Message

consumers = Consumers("webhooks")

OFFERED = [REGISTRY[subject.value] for subject in Subject]
_KINDS = {type_of(kind.subject): kind for kind in OFFERED} | {kind.subject: kind for kind in OFFERED}
"""By the type of today, and by that of events from before types had versions."""


@consumers.raw("deliver", OFFERED)
async def deliver(delivered: Delivered, session: AsyncSession) -> None:
    """Make a delivery for every endpoint that wants the event."""
    envelope, kind = delivered.envelope, _KINDS.get(delivered.envelope.type)
    if kind is None:
        raise PoisonError("unknown_type", f"{envelope.type} is not offered to webhooks")
    check_type(envelope, kind)
    try:
        event = decode(kind, delivered.body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise PoisonError("not_this_event", f"not a {kind.subject} of ours: {error!r}") from error
    league_id = event.league_id if isinstance(event, LeaderboardUpdated) else None
    await queue.fan_out(session, _message(envelope, kind.subject, delivered.body), _moment(envelope), league_id)


def _message(envelope: Envelope, subject: str, body: bytes) -> Message:
    return Message(
        event_id=envelope.id,
        subject=subject,
        source=envelope.source,
        key=envelope.subject,
        time=envelope.time,
        body=body,
    )


def _moment(envelope: Envelope) -> datetime:
    try:
        moment = datetime.fromisoformat(envelope.time)
    except ValueError as error:
        raise PoisonError("malformed_time", f"{envelope.time} is no time") from error
    if moment.tzinfo is None:
        raise PoisonError("malformed_time", f"{envelope.time} has no zone")
    return moment


@consumers.on(LeagueCreated)
async def learn_league(event: LeagueCreated, session: AsyncSession) -> None:
    """Remember whether its leaderboard is everybody's to read."""
    row = insert(League).values(league_id=event.league_id, private=event.private, owner_id=event.owner_id)
    await session.execute(row.on_conflict_do_nothing())


@consumers.on(LeagueJoined)
async def learn_member(event: LeagueJoined, session: AsyncSession) -> None:
    """Remember who is in it."""
    await queries.one_at_a_time(session, event.user_id)
    if await people.is_erased(session, event.user_id):
        return
    row = insert(Member).values(league_id=event.league_id, user_id=event.user_id)
    await session.execute(row.on_conflict_do_nothing())


@consumers.on(UserDeactivated)
async def disable_endpoints(event: UserDeactivated, session: AsyncSession) -> None:
    """Send nothing for somebody who is blocked or has deleted the account."""
    await people.go(session, event.user_id, event.deactivated_at)


@consumers.on(UserActivated)
async def enable_endpoints(event: UserActivated, session: AsyncSession) -> None:
    """Send again for somebody who is back."""
    await people.come_back(session, event.user_id, event.activated_at)


@consumers.on(UserDeleted)
async def remove_endpoints(event: UserDeleted, session: AsyncSession) -> None:
    """Remove what somebody who was erased had here."""
    await people.erase(session, event.user_id)
