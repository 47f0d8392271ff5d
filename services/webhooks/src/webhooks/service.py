"""The use cases: each loads, decides and writes in the caller's transaction.

A URL is resolved before the first statement, so that no transaction is open while a name server is asked.
"""

from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock
from common.errors import ConflictError, NotFoundError, TooManyRequestsError
from webhooks import people, queries, queue, signing
from webhooks.domain import TEST_SUBJECT, DisabledReason, Subject
from webhooks.models import Endpoint
from webhooks.queries import DeliveryRow
from webhooks.rendering import Message
from webhooks.schemas import EndpointInput, EndpointPatch, check_subjects
from webhooks.settings import WebhooksSettings
from webhooks.signing import Seal
from webhooks.targets import Guard

TEST_RETRY_SECONDS = 600


class Endpoints:
    """What users do with their endpoints."""

    def __init__(self, settings: WebhooksSettings, guard: Guard) -> None:
        self._settings = settings
        self._guard = guard
        self._seal = Seal(settings.encryption_secret)

    async def create(self, session: AsyncSession, user_id: UUID, new: EndpointInput) -> tuple[Endpoint, str]:
        """Register an endpoint; return it with its secret."""
        check_subjects(new.subjects, new.league_id)
        await self._guard.check(new.url)
        await queries.one_at_a_time(session, user_id)
        await people.require_in_use(session, user_id)
        most = self._settings.endpoints_per_user
        if await queries.count_endpoints(session, user_id) >= most:
            raise ConflictError("too_many_endpoints", f"You have {most} endpoints, which is the most.")
        await _require_league(session, new.league_id, user_id)
        endpoint_id, key = uuid4(), signing.new_key()
        endpoint = Endpoint(
            endpoint_id=endpoint_id,
            user_id=user_id,
            url=new.url,
            description=new.description.strip(),
            format=new.format.value,
            subjects=[subject.value for subject in new.subjects],
            league_id=new.league_id,
            secret_sealed=self._seal.close(endpoint_id, key),
            failures=0,
        )
        session.add(endpoint)
        await session.flush()
        return endpoint, signing.shown(key)

    async def change(self, session: AsyncSession, user_id: UUID, endpoint_id: UUID, patch: EndpointPatch) -> Endpoint:
        """Change what the patch names; another URL begins without the failures of the old one."""
        if patch.url is not UNSET:
            await self._guard.check(patch.url)
        endpoint = await queries.endpoint_for(session, endpoint_id, user_id, lock=True)
        subjects = endpoint.subjects if patch.subjects is UNSET else patch.subjects
        league_id = endpoint.league_id if patch.league_id is UNSET else patch.league_id
        check_subjects([Subject(subject) for subject in subjects], league_id)
        if league_id != endpoint.league_id:
            await _require_league(session, league_id, user_id)
        endpoint.subjects = [str(subject) for subject in subjects]
        endpoint.league_id = league_id
        if patch.url is not UNSET and patch.url != endpoint.url:
            endpoint.url = patch.url
            endpoint.failures, endpoint.failing_since = 0, None
        if patch.format is not UNSET:
            endpoint.format = patch.format.value
        if patch.description is not UNSET:
            endpoint.description = patch.description.strip()
        return endpoint

    async def remove(self, session: AsyncSession, user_id: UUID, endpoint_id: UUID) -> None:
        """Remove an endpoint and its log; what waits for it is never sent."""
        await session.delete(await queries.endpoint_for(session, endpoint_id, user_id, lock=True))
        await session.flush()

    async def rotate(self, session: AsyncSession, user_id: UUID, endpoint_id: UUID) -> tuple[Endpoint, str]:
        """Make a new secret; the one before it signs too for a day, one before that no more."""
        endpoint = await queries.endpoint_for(session, endpoint_id, user_id, lock=True)
        key = signing.new_key()
        endpoint.old_secret_sealed = endpoint.secret_sealed
        endpoint.old_secret_until = clock.now() + timedelta(seconds=self._settings.old_secret_seconds)
        endpoint.secret_sealed = self._seal.close(endpoint_id, key)
        return endpoint, signing.shown(key)

    async def enable(self, session: AsyncSession, user_id: UUID, endpoint_id: UUID) -> Endpoint:
        """Send again from now on; its failures are forgotten."""
        await queries.one_at_a_time(session, user_id)
        await people.require_in_use(session, user_id)
        endpoint = await queries.endpoint_for(session, endpoint_id, user_id, lock=True)
        endpoint.disabled_at = endpoint.disabled_reason = None
        endpoint.failures, endpoint.failing_since = 0, None
        return endpoint

    async def disable(self, session: AsyncSession, user_id: UUID, endpoint_id: UUID) -> Endpoint:
        """Send nothing more; a reason that is there stays."""
        endpoint = await queries.endpoint_for(session, endpoint_id, user_id, lock=True)
        if endpoint.disabled_at is None:
            endpoint.disabled_at, endpoint.disabled_reason = clock.now(), DisabledReason.OWNER.value
        return endpoint

    async def test(self, session: AsyncSession, user_id: UUID, endpoint_id: UUID) -> DeliveryRow:
        """Send an event that means nothing, now."""
        endpoint = await queries.endpoint_for(session, endpoint_id, user_id, lock=True)
        _require_enabled(endpoint)
        most = self._settings.tests_per_hour
        if await queries.tests_this_hour(session, endpoint_id) >= most:
            raise TooManyRequestsError(
                "too_many_tests", f"An endpoint gets {most} tests an hour.", retry_after=TEST_RETRY_SECONDS
            )
        message = Message(
            event_id=uuid4(),
            subject=TEST_SUBJECT,
            source="/paddock/webhooks",
            key=str(endpoint_id),
            time=clock.now().isoformat().replace("+00:00", "Z"),
            body=msgspec.json.encode({"endpoint_id": endpoint_id, "message": "It works."}),
        )
        delivery_id = await queue.enqueue(session, endpoint_id, message)
        return await queries.delivery_for(session, endpoint_id, delivery_id)

    async def redeliver(
        self, session: AsyncSession, user_id: UUID, endpoint_id: UUID, delivery_id: UUID
    ) -> DeliveryRow:
        """Send an event again, under the same id and with all attempts before it."""
        endpoint = await queries.endpoint_for(session, endpoint_id, user_id)
        await queries.delivery_for(session, endpoint_id, delivery_id)
        _require_enabled(endpoint)
        if not await queue.enqueue_again(session, endpoint_id, delivery_id):
            raise ConflictError("delivery_pending", "The delivery has not ended; it will be tried again by itself.")
        return await queries.delivery_for(session, endpoint_id, delivery_id)


def _require_enabled(endpoint: Endpoint) -> None:
    if endpoint.disabled_at is not None:
        raise ConflictError("endpoint_disabled", "The endpoint is disabled; enable it first.")


async def _require_league(session: AsyncSession, league_id: UUID | None, user_id: UUID) -> None:
    if league_id is not None and not await queries.may_read_league(session, league_id, user_id):
        raise NotFoundError("unknown_league", "There is no such league, or it is private and you are not in it.")
