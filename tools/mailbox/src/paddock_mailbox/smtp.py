"""The side that takes letters: SMTP, from anybody, to anybody, and no further."""

import asyncio
import logging
from functools import partial
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from paddock_mailbox.letters import Box

LETTER_BYTES = 256 * 1024
"""Of the longest letter; the box holds `letters.KEPT` of them in memory."""

log = logging.getLogger("mailbox")


class Catcher:
    """Keeps what it is handed."""

    def __init__(self, box: Box) -> None:
        self._box = box

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Take a letter."""
        del server, session
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        letter = self._box.put(envelope.mail_from or "", list(envelope.rcpt_tos), content)
        log.info("letter %d caught", letter.id)
        return f"250 caught as {letter.id}"


async def listen(handler: object, host: str, port: int, **options: Any) -> asyncio.Server:  # noqa: ANN401 - aiosmtpd's
    """Serve SMTP in the running loop; port 0 takes any free one. ``options`` are aiosmtpd's."""
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's, which tells every address
    loop = asyncio.get_running_loop()
    factory = partial(
        SMTP,
        handler,
        data_size_limit=LETTER_BYTES,
        hostname="mailbox.invalid",
        ident="mailbox",
        loop=loop,
        **options,
    )
    return await loop.create_server(factory, host, port)
