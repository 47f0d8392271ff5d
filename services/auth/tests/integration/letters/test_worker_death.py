"""A process that dies between the mail server's yes and the commit: the letter comes twice, as the same letter."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from auth import mails
from auth.models import Mail, User
from auth.settings import AuthSettings
from common import clock, topology
from common.db import Database
from devstack.nats import start_nats
from devstack.testing import eventually
from lab.mail_server import MailServer
from lab.process import Lab
from lab.worker import Work


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A NATS of this test's own: on that of the run another process reads the same durable."""
    server = start_nats(tmp_path / "nats")
    yield server.url
    server.stop()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    laboratory = Lab(tmp_path)
    yield laboratory
    laboratory.end()


@pytest.fixture
async def own_database(fresh_settings: AuthSettings) -> AsyncIterator[Database]:
    database = Database(fresh_settings, "auth")
    yield database
    await database.close()


async def test_a_letter_whose_sender_died_comes_again_as_the_same_letter(
    broker: str, lab: Lab, fresh_settings: AuthSettings, own_database: Database
) -> None:
    client = await topology.connect(broker, "tests")
    await topology.apply(client.jetstream())
    await client.close()
    async with MailServer() as server:
        server.telling.clear()
        work = Work(
            database_url=fresh_settings.database_url,
            nats_url=broker,
            handlers="lab.letters:postal",
            options={"smtp_port": server.port},
            relay=True,
            service="auth",
            patches={"common.consumers.ACK_WAIT_SECONDS": 2},
        )
        user = User(
            id=uuid4(),
            username="max",
            email="max@example.com",
            password_hash="x",
            created_at=clock.now(),
        )
        async with own_database.transaction() as session:
            session.add(user)
            await session.flush()
            mail = await mails.post(session, "verify_email", user, settings=fresh_settings)
        assert mail is not None
        first = lab.work(work, "first")
        async with asyncio.timeout(30):
            await server.taken.wait()
        await first.kill()
        assert await sent_at(own_database, mail) is None
        server.telling.set()
        lab.work(work, "second")

        async def sent() -> Any:
            return await sent_at(own_database, mail)

        await eventually(sent, seconds=40, what="the letter, sent for good")
        letters = server.to(user.email)
        assert len(letters) == 2
        assert {letter.message_id for letter in letters} == {f"<{mail.id}@paddock.example>"}
        assert letters[0].links == letters[1].links
        assert (letters[0].text, letters[0].html) == (letters[1].text, letters[1].html)


async def sent_at(database: Database, mail: Mail) -> Any:
    async with database.transaction() as session:
        return await session.scalar(select(Mail.sent_at).where(Mail.id == mail.id))
