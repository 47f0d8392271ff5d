"""The plugin that every service's tests stand on keeps its own promises."""

import pytest
from sqlalchemy import text

from common.db import Database
from devstack.testing import eventually, rolled_back


async def test_a_rolled_back_session_leaves_nothing_even_after_a_commit(database: Database) -> None:
    async with rolled_back(database) as session:
        await session.execute(text("INSERT INTO notes (note) VALUES ('gone')"))
        await session.commit()
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 1
    async with database.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 0


async def test_waiting_fails_with_words_when_the_deadline_passes() -> None:
    async def never() -> bool:
        return False

    with pytest.raises(pytest.fail.Exception, match="the flag did not come true"):
        await eventually(never, seconds=0.05, what="the flag")
