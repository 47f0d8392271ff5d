"""What `auth` publishes."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from common.contracts.event import Event


class UserRegistered(Event, frozen=True, kw_only=True):
    """Somebody opened an account. Carries no e-mail address: subscribers do not need one."""

    subject: ClassVar[str] = "user.registered"
    source: ClassVar[str] = "auth"

    user_id: UUID
    username: str
    registered_at: datetime

    def key(self) -> str:
        """Order is kept per user."""
        return str(self.user_id)
