"""The postman: sends the letters that wait, each at least once.

| the mail server | the letter |
|---|---|
| takes it | is sent; a crash right after that sends it again, with the same ``Message-ID`` |
| is away or slow, answers 4xx, refuses our login or our sender | waits, and is given up after `AUTH_MAIL_DAYS` |
| refuses the recipient or what we write with 5xx | is dropped, and its row says why |

A letter whose link is used up or replaced by then is not sent.
"""

import asyncio
import ssl
from datetime import timedelta
from email.message import EmailMessage

import aiosmtplib
from prometheus_client import Counter
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import mails, rendering
from auth.links import Links
from auth.mails import Kind, Request
from auth.models import Mail, OneTimeToken, User
from auth.rendering import Wording
from auth.settings import AuthSettings, SmtpSecurity
from common import clock
from common.contracts.auth import MailRequested
from common.errors import UnavailableError
from common.log import get_logger

log = get_logger(__name__)

PERMANENT = 500
QUIT_SECONDS = 2
SPARE_SECONDS = 15
"""How much longer than a mail server may take the transaction may be idle."""

LETTERS = Counter("auth_mails_total", "Letters, by kind and what became of them", ["kind", "outcome"])
FAILURES = Counter("auth_mail_server_failures_total", "Times that the mail server did not take a letter for now")


class RefusedError(Exception):
    """The mail server will never take this letter."""


class Postman:
    """Sends letters by SMTP."""

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        self._links = Links(settings)
        self._tls = _trusting(settings.smtp_ca_file) if settings.smtp_security is not SmtpSecurity.NONE else None

    async def send_mail(self, event: MailRequested, session: AsyncSession) -> None:
        """Send a letter, or answer a request for one. The transaction stays open while the mail server is talked to."""
        mail = await session.get(Mail, event.mail_id)
        if mail is None or mail.sent_at or mail.dropped_at:
            return
        if mail.kind in set(Request):
            await mails.answer(session, mail, settings=self._settings)
            return
        user = await session.get(User, mail.user_id) if mail.user_id else None
        token = await session.get(OneTimeToken, mail.token_id) if mail.token_id else None
        if obstacle := await self._obstacle(session, mail, user, token):
            await _drop(session, mail, obstacle)
            return
        idle = (self._settings.smtp_seconds + SPARE_SECONDS) * 1000
        await session.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = {idle:d}"))
        try:
            await self._hand_over(self._written(mail, user, token), mail.address)
        except RefusedError as error:
            await _drop(session, mail, str(error))
            return
        await session.execute(update(Mail).where(Mail.id == mail.id).values(sent_at=clock.now()))
        LETTERS.labels(mail.kind, "sent").inc()

    async def _obstacle(
        self, session: AsyncSession, mail: Mail, user: User | None, token: OneTimeToken | None
    ) -> str | None:
        """Say why a letter is not to be sent, if so."""
        now = clock.now()
        if user is None:
            return "nobody to write to"
        if now - mail.created_at > timedelta(days=self._settings.mail_days):
            return "no server took it in time"
        if mail.kind not in mails.LINKS:
            return None
        if user.deactivated_at or user.deleted_at:
            return "the account is out of use"
        if token is None or token.used_at or token.expires_at <= now or not self._links.matches(token):
            return "its link is no good any more"
        return await self._taken(session, user, mail) if mail.kind == Kind.CHANGE_EMAIL else None

    async def _taken(self, session: AsyncSession, user: User, mail: Mail) -> str | None:
        """Tell whoever has the address that somebody else wants it, instead of letting them give it away."""
        holder = await mails.holder(session, mail.address)
        if holder is None or holder.id == user.id:
            return None
        await mails.post(session, Kind.ALREADY_REGISTERED, holder, settings=self._settings)
        return "the address is another account's"

    def _written(self, mail: Mail, user: User | None, token: OneTimeToken | None) -> EmailMessage:
        wording = Wording(
            product=self._settings.product_name,
            username=user.username if user else "",
            at=mail.created_at,
            facts=mail.facts,
            link=self._links.url(token) if token else None,
            link_until=token.expires_at if token else None,
        )
        return rendering.message(
            rendering.write(mail.kind, wording),
            mail_id=mail.id,
            written_at=mail.created_at,
            product=self._settings.product_name,
            sender=self._settings.mail_from,
            recipient=mail.address,
        )

    async def _hand_over(self, message: EmailMessage, recipient: str) -> None:
        """Give it to the mail server; raise `RefusedError`, or `UnavailableError` when trying again helps.

        What the server says often holds the address, so only its code is told. Once it has the letter, how the farewell
        goes does not matter.
        """
        smtp = self._client()
        try:
            async with asyncio.timeout(self._settings.smtp_seconds):
                await smtp.connect()
                await smtp.send_message(message, sender=self._settings.mail_from, recipients=[recipient])
            await _part(smtp)
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _answered("the recipient", error.recipients[0].code) from None
        except aiosmtplib.SMTPDataError as error:
            raise _answered("the letter", error.code) from None
        except aiosmtplib.SMTPResponseException as error:
            raise _unavailable(f"{type(error).__name__} {error.code}") from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise _unavailable(type(error).__name__) from None
        finally:
            smtp.close()

    def _client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_username,
            password=settings.smtp_password,
            use_tls=settings.smtp_security is SmtpSecurity.TLS,
            start_tls=settings.smtp_security is SmtpSecurity.STARTTLS,
            tls_context=self._tls,
            local_hostname=settings.mail_from.rpartition("@")[2],
            timeout=settings.smtp_seconds,
        )


async def _part(smtp: aiosmtplib.SMTP) -> None:
    try:
        await smtp.quit(timeout=QUIT_SECONDS)
    except (aiosmtplib.SMTPException, OSError) as error:
        log.debug("the mail server left without a farewell", error=type(error).__name__)


async def _drop(session: AsyncSession, mail: Mail, reason: str) -> None:
    await session.execute(update(Mail).where(Mail.id == mail.id).values(dropped_at=clock.now(), dropped_because=reason))
    LETTERS.labels(mail.kind, "dropped").inc()
    log.warning("letter dropped", mail_id=str(mail.id), kind=mail.kind, reason=reason)


def _answered(what: str, code: int) -> Exception:
    """Return the error for an answer about one letter."""
    if code >= PERMANENT:
        return RefusedError(f"the server refuses {what}: {code}")
    return _unavailable(f"{what} is not taken for now, {code}")


def _unavailable(what: str) -> UnavailableError:
    FAILURES.inc()
    return UnavailableError("mail_unavailable", f"The mail server does not take letters right now: {what}.")


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context
