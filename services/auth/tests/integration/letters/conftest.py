import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from auth import mails
from auth.models import Mail, User
from auth.postman import Postman
from auth.settings import AuthSettings
from common import clock
from common.contracts.auth import MailRequested
from common.db import Database
from devstack.testing import eventually
from lab.mail_server import MailServer
from paddock_mailbox.letters import Letter

Users = Callable[..., Awaitable[User]]
Post = Callable[..., Awaitable[Mail]]
Send = Callable[[UUID], Awaitable[None]]
Mails = Callable[[User], Awaitable[list[Mail]]]
Arrived = Callable[..., Awaitable[Letter]]


@pytest.fixture
def user_made(database: Database) -> Users:
    """Make users by hand, without the letter that a registration sends."""

    async def make(**columns: Any) -> User:
        name = f"driver_{uuid4().hex[:12]}"
        row = {"id": uuid4(), "username": name, "email": f"{name}@example.com", "password_hash": "x"}
        user = User(**row | {"created_at": clock.now()} | columns)
        async with database.transaction() as session:
            session.add(user)
        return user

    return make


@pytest.fixture
async def user(user_made: Users) -> User:
    return await user_made()


@pytest.fixture
def post(database: Database, settings: AuthSettings) -> Post:
    """Post a letter without anybody hearing of it, so that the test itself sends it."""

    async def do(kind: str, user: User, **more: Any) -> Mail:
        async with database.transaction() as session:
            mail = await mails.post(session, kind, user, settings=settings, **more)
            assert mail is not None
            await session.execute(OUTBOX.delete().where(OUTBOX.c.key == str(mail.id)))
        return mail

    return do


OUTBOX = Mail.metadata.tables["outbox"]


@pytest.fixture
def send(database: Database, settings: AuthSettings) -> Send:
    """Do what the consumer does with an event."""

    async def do(mail_id: UUID) -> None:
        async with database.transaction() as session:
            await Postman(settings).send_mail(MailRequested(mail_id=mail_id, kind="any"), session)

    return do


@pytest.fixture
def mails_of(database: Database) -> Mails:
    """List somebody's letters as the database has them, the oldest first."""

    async def read(user: User) -> list[Mail]:
        async with database.transaction() as session:
            query = select(Mail).where(Mail.user_id == user.id).order_by(Mail.created_at)
            return list((await session.scalars(query)).all())

    return read


@pytest.fixture
def arrived(mail_server: MailServer) -> Arrived:
    """Wait for a letter to an address, and return the newest one whose subject is right."""

    async def wait(address: str, about: str = "", *, seconds: float = 15) -> Letter:
        async def look() -> Letter | None:
            return next((letter for letter in mail_server.to(address) if about in letter.subject), None)

        letter: Letter = await eventually(look, seconds=seconds, what=f"a letter about {about!r}")
        return letter

    return wait


@pytest.fixture
async def quiet(database: Database) -> Callable[[], Awaitable[None]]:
    """Wait until no letter of this test waits; others have left some to a mail server that never comes."""
    began = clock.now()

    async def wait() -> None:
        async def none() -> bool:
            open_ones = Mail.sent_at.is_(None) & Mail.dropped_at.is_(None)
            waiting = select(func.count()).select_from(Mail).where(open_ones, Mail.created_at >= began)
            outbox = select(func.count()).select_from(OUTBOX).where(OUTBOX.c.published_at.is_(None))
            async with database.transaction() as session:
                return not (await session.scalar(waiting) or await session.scalar(outbox))

        await eventually(none, seconds=20, what="quiet")
        await asyncio.sleep(0)

    return wait


def token_in(letter: Letter) -> str:
    """Take the token out of a letter's link."""
    return letter.links[0].partition("#token=")[2]
