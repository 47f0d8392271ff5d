"""What `auth` publishes."""

from typing import ClassVar
from uuid import UUID

from common.contracts.event import Event, Instant


class UserRegistered(Event, frozen=True, kw_only=True):
    """Somebody opened an account. Carries no e-mail address: subscribers do not need one."""

    subject: ClassVar[str] = "user.registered"
    source: ClassVar[str] = "auth"

    user_id: UUID
    username: str
    registered_at: Instant

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)
