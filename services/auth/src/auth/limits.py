"""How often somebody may ask: GCRA in PostgreSQL, so that replicas agree. Without the database nobody is let in anyway.

A limit of ``20/60`` lets 20 through at once and then one more every 3 s, so in no minute more than twice as many. It
stands beside those of the gateway, which know addresses and no accounts.
"""

import hashlib
import math
import re
from datetime import datetime, timedelta
from functools import lru_cache

import msgspec
from prometheus_client import Counter
from sqlalchemy import Executable, Interval, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.limit_settings import PATTERN
from auth.models import Allowance
from common.addresses import UNKNOWN, limit_subject
from common.db import Database
from common.errors import TooManyRequestsError

SUBJECT_BYTES = 16

LIMITED = Counter("auth_limited_total", "Requests refused by a limit", ["limit"])


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """So many at once, and as many again in that time."""

    count: int
    period: timedelta

    @property
    def interval(self) -> timedelta:
        """After what time one more is let through."""
        return self.period / self.count


@lru_cache(maxsize=100)
def read(text: str) -> Limit | None:
    """Read a setting; ``0`` is no limit."""
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"not a limit: {text!r}")
    if text == "0":
        return None
    count, seconds = text.split("/")
    return Limit(count=int(count), period=timedelta(seconds=int(seconds)))


async def take(session: AsyncSession, name: str, subject: str, limit: str) -> None:
    """Use up one of a limit in the caller's transaction; raise `TooManyRequestsError`, which uses up nothing.

    What is rolled back was not taken. Where the request may fail afterwards and yet must count, use `take_apart`.

    Args:
        session: Holds the limit's row until it commits, so this comes late in a long transaction.
        name: Which limit, for example ``login_address``.
        subject: For whom it counts: `of_address`, or an account's id; stored as a hash.
        limit: As the setting has it.
    """
    rate = read(limit)
    if rate is None:
        return
    key = f"{name}:{hashlib.sha256(subject.encode()).digest()[:SUBJECT_BYTES].hex()}"
    if await session.scalar(_TAKE, {"name": key, "interval": rate.interval, "period": rate.period}) is None:
        LIMITED.labels(name).inc()
        raise await _refusal(session, key, rate)


def _taking() -> Executable:
    """Build, once, what moves the time at which a limit is whole again."""
    now = func.clock_timestamp()
    interval, period = bindparam("interval", type_=Interval), bindparam("period", type_=Interval)
    row = insert(Allowance).values(name=bindparam("name"), due=now + interval)
    begin = func.greatest(func.least(Allowance.due, now + period), now)  # a clock set back locks nobody out
    return row.on_conflict_do_update(
        index_elements=[Allowance.name], set_={"due": begin + interval}, where=begin + interval <= now + period
    ).returning(Allowance.due)


_TAKE = _taking()


async def _refusal(session: AsyncSession, key: str, rate: Limit) -> TooManyRequestsError:
    row = (await session.execute(select(Allowance.due, func.clock_timestamp()).where(Allowance.name == key))).one()
    due: datetime = row[0]
    wait = due + rate.interval - rate.period - row[1]
    seconds = max(1, math.ceil(min(wait, rate.interval).total_seconds()))
    return TooManyRequestsError("rate_limited", "Too many of these for now. Try again later.", retry_after=seconds)


async def take_apart(database: Database, name: str, subject: str, limit: str) -> None:
    """Use up one of a limit whatever becomes of the request; raise `TooManyRequestsError`."""
    if read(limit) is not None:
        async with database.transaction() as session:
            await take(session, name, subject, limit)


def of_address(address: str | None) -> str:
    """Return whom a limit per address counts: an IPv4 address, or what one customer has of IPv6."""
    return limit_subject(address) if address else UNKNOWN
