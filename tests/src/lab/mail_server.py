"""A real SMTP server that misbehaves when it is told to: refuses, stalls, cuts lines, goes away and comes back."""

import asyncio
import logging
import ssl
import warnings
from functools import partial
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from devstack.ports import free_port
from paddock_mailbox.letters import Box, Letter

HOST = "127.0.0.1"


class MailServer:
    """An async context manager; letters it has taken are in its box."""

    def __init__(self, *, implicit_tls: ssl.SSLContext | None = None, **options: Any) -> None:
        """``options`` are aiosmtpd's: ``tls_context``, ``require_starttls``, ``auth_required``."""
        self.port = free_port()
        self.box = Box(kept=2000)
        self.refusals: dict[str, str] = {}
        """Answers to ``RCPT`` by address, in lower case."""
        self.sender_refusal: str | None = None
        """Answer to every ``MAIL``."""
        self.data_refusal: str | None = None
        """Answer to every letter."""
        self.cuts = 0
        """How many of the next letters end in a cut line, in the middle of their text."""
        self.taken = asyncio.Event()
        """Set when a letter was taken, before that is told."""
        self.telling = asyncio.Event()
        """Clear, a letter that was taken is not told to be."""
        self.telling.set()
        self.credentials = (b"", b"")
        self.logins: list[bool] = []
        self.over_tls: list[bool] = []
        """For each letter, whether it came encrypted."""
        self.offered = 0
        """Times that somebody began a letter."""
        self._tls = implicit_tls
        self._options = {"authenticator": self._authenticate, **options}
        self._server: asyncio.Server | None = None
        self._connections: set[Faulty] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.telling.set()
        await self.stop()

    async def start(self) -> None:
        """Be there."""
        logging.getLogger("mail.log").setLevel(logging.WARNING)
        loop = asyncio.get_running_loop()
        factory = partial(Faulty, self, hostname="mail.example", ident="lab", loop=loop, **self._options)
        self._server = await loop.create_server(factory, HOST, self.port, ssl=self._tls)

    async def stop(self) -> None:
        """Be away; connections that are open are cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.cut()
        await asyncio.sleep(0)

    def to(self, address: str) -> list[Letter]:
        """List the letters to an address, the newest first."""
        return self.box.all(address)

    def enter(self, connection: "Faulty") -> None:
        """Somebody connects."""
        self._connections.add(connection)

    def leave(self, connection: "Faulty") -> None:
        """Somebody is gone."""
        self._connections.discard(connection)

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's names here and below
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session, options
        self.offered += 1
        if self.sender_refusal:
            return self.sender_refusal
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session, options
        if refusal := self.refusals.get(address.lower()):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        del server
        if self.data_refusal:
            return self.data_refusal
        assert isinstance(envelope.content, bytes)
        assert envelope.mail_from is not None
        self.box.put(envelope.mail_from, list(envelope.rcpt_tos), envelope.content)
        self.over_tls.append(session.ssl is not None or self._tls is not None)
        self.taken.set()
        await self.telling.wait()
        return "250 taken"

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        del server, session, envelope, mechanism
        right = isinstance(data, LoginPassword) and (data.login, data.password) == self.credentials
        self.logins.append(right)
        return AuthResult(success=right)


class Faulty(SMTP):
    """One connection."""

    def __init__(self, lab: MailServer, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # a login without STARTTLS: the line may be encrypted from the start
            super().__init__(lab, **options)
        self._lab = lab

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._lab.enter(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._lab.leave(self)
        super().connection_lost(error)

    def cut(self) -> None:
        """End the connection without a word."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        if self._lab.cuts:
            self._lab.cuts -= 1
            await self.push("354 go on")
            self.cut()
            return
        await super().smtp_DATA(arg)
