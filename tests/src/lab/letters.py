"""The consumers of `auth` in a process of the laboratory."""

from auth.consumers import consumers_of
from auth.postman import Postman
from auth.settings import AuthSettings
from common.consumers import Consumers


def postal(smtp_port: int) -> Consumers:
    """Send letters to a mail server on this machine."""
    return consumers_of(Postman(AuthSettings(smtp_port=smtp_port, smtp_seconds=40)))
