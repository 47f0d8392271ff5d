"""The events that `auth` listens to."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from auth import members
from auth.postman import Postman
from auth.settings import AuthSettings
from common.consumers import Consumers
from common.contracts.auth import MailRequested
from common.contracts.leagues import LeagueJoined


async def learn_members(events: Sequence[LeagueJoined], session: AsyncSession) -> None:
    """Keep who is in which league."""
    await members.learn(session, events)


def consumers_of(postman: Postman) -> Consumers:
    """Return what reads the events of a process whose letters this postman sends."""
    made = Consumers("auth")
    made.batch(LeagueJoined)(learn_members)
    made.on(MailRequested)(postman.send_mail)
    return made


consumers = consumers_of(Postman(AuthSettings()))
"""What `auth` listens to, for whoever asks; nobody consumes with it."""
