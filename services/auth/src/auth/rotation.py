"""Changing the signing keys: by age, by command, and at once when one is no longer a secret.

Whoever changes them holds one advisory lock; every replica notices within seconds, for it reads them again and again.
"""

import asyncio
from datetime import timedelta

from litestar import Litestar
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, origin, queries
from auth.audit import Actor
from auth.key_schedule import is_due, over, signing
from auth.keys import KeySeal, generate
from auth.models import SigningKey
from auth.settings import AuthSettings
from common import cancellation, clock
from common.db import Database, is_outage
from common.denials import KEPT_SECONDS
from common.errors import ConflictError, NotFoundError
from common.log import get_logger

log = get_logger(__name__)

CHECK_SECONDS = 60.0
KEPT = timedelta(seconds=KEPT_SECONDS)
"""How long a key verifies after it was replaced: as long as any token can live."""


async def rotate(database: Database, settings: AuthSettings, *, now: bool = False) -> str:
    """Publish a new key, which signs once everybody has it, or ``now``; return its id.

    With ``now`` a service that has just fetched the keys may refuse the first tokens for up to 20 s.

    Raises:
        ConflictError: ``AUTH_KEY_ENCRYPTION_SECRET`` is not the one that sealed the key that signs. With ``now`` that
            is no matter: so begins a new secret.
    """
    async with database.transaction() as session:
        await queries.lock_keys(session)
        stored = await queries.signing_keys(session)
        if stored and not now and not KeySeal(settings.key_encryption_secret).opens(signing(stored, clock.now())):
            detail = "AUTH_KEY_ENCRYPTION_SECRET does not open the key that signs; `auth` has another one."
            raise ConflictError("other_secret", detail)
        delay = timedelta() if now else settings.key_publish
        key = await _publish(session, settings, delay, audit.OPERATOR)
    return key.id.hex


async def withdraw(database: Database, settings: AuthSettings, key_id: str) -> str:
    """Delete a key that is no longer a secret: its tokens are refused within a minute. Return the id of who signs now.

    When it is the key that signs, a new one takes its place at once.

    Raises:
        NotFoundError: No key has this id.
    """
    async with database.transaction() as session:
        await queries.lock_keys(session)
        stored = {key.id.hex: key for key in await queries.signing_keys(session)}
        withdrawn = stored.pop(key_id, None)
        if withdrawn is None:
            raise NotFoundError("no_key", f"No signing key has the id {key_id}.")
        now = clock.now()
        signer = signing([*stored.values(), withdrawn], now)
        await session.delete(withdrawn)
        await audit.record(session, "key.withdraw", actor=audit.OPERATOR, origin=origin.OPERATOR, target=withdrawn.id)
        if signer is withdrawn:
            signer = await _publish(session, settings, timedelta(), audit.OPERATOR)
    log.warning("signing key withdrawn", key_id=key_id, signer=signer.id.hex)
    return signer.id.hex


async def rotate_by_age(app: Litestar) -> None:
    """Look now and then, until cancelled."""
    while True:
        cancellation.heed()
        try:
            await look(app.state.database, app.state.settings)
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("keys not looked after", error=repr(error))
        await asyncio.sleep(CHECK_SECONDS)


async def look(database: Database, settings: AuthSettings) -> str | None:
    """Publish a key when it is time, and remove those that are over; return the new one's id.

    Of several replicas one does it, and the others find it done.
    """
    async with database.transaction() as session:
        stored, now = await queries.signing_keys(session), clock.now()
        if not is_due(stored, now, settings.key_age) and not over(stored, now, KEPT):
            return None
        await queries.lock_keys(session)
        stored = await queries.signing_keys(session)
        for key in over(stored, now, KEPT):
            await session.delete(key)
            log.info("signing key deleted", key_id=key.id.hex)
        if not is_due(stored, now, settings.key_age):
            return None
        delay = settings.key_publish if stored else timedelta()
        return (await _publish(session, settings, delay, audit.SYSTEM)).id.hex


async def _publish(session: AsyncSession, settings: AuthSettings, delay: timedelta, actor: Actor) -> SigningKey:
    key = generate(KeySeal(settings.key_encryption_secret), clock.now() + delay)
    session.add(key)
    await session.flush()
    await audit.record(
        session,
        "key.publish",
        actor=actor,
        origin=origin.OPERATOR,
        target=key.id,
        after={"signs_from": key.signs_from},
    )
    log.info("signing key published", key_id=key.id.hex, signs_from=key.signs_from.isoformat())
    return key
