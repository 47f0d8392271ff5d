"""Accounts to play with, for development: always the same ones, made once however often it is asked."""

from uuid import uuid4

from sqlalchemy.dialects.postgresql import insert

from auth import audit
from auth.models import User
from auth.origin import OPERATOR
from auth.passwords import PasswordHasher
from common import clock, outbox
from common.contracts.auth import UserRegistered
from common.db import Database

PASSWORD = "Slipstream-2026"  # noqa: S105 - told to everybody, and refused in production
MOST = 1000
NAMES = ("Box Box", "Late Braker", "Tyre Saver", "Grid Walker", "Pit Waller", "Apex Hunter", "Slip Streamer")


async def seed(database: Database, hasher: PasswordHasher, count: int) -> int:
    """Make ``demo_001`` and so on, all with `PASSWORD` and a proved address; return how many were not there yet."""
    password_hash = await hasher.hash(PASSWORD)
    made = 0
    for number in range(1, count + 1):
        async with database.transaction() as session:
            now = clock.now()
            username = f"demo_{number:03}"
            statement = (
                insert(User)
                .values(
                    id=uuid4(),
                    username=username,
                    email=f"{username}@example.com",
                    full_name=NAMES[(number - 1) % len(NAMES)],
                    password_hash=password_hash,
                    created_at=now,
                    email_verified_at=now,
                )
                .on_conflict_do_nothing()
                .returning(User.id)
            )
            user_id = await session.scalar(statement)
            if user_id is None:
                continue
            made += 1
            await audit.record(session, "user.seed", actor=audit.OPERATOR, origin=OPERATOR, target=user_id)
            await outbox.publish(session, UserRegistered(user_id=user_id, username=username, registered_at=now))
    return made
