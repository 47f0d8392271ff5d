"""What becomes of a letter, whatever the mail server does."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from auth.mails import Kind
from auth.models import Mail, OneTimeToken, User
from auth.postman import Postman
from auth.settings import AuthSettings, SmtpSecurity
from common import clock, delivery
from common.contracts.auth import MailRequested
from common.db import Database
from common.errors import UnavailableError
from lab.mail_server import MailServer

Call = Callable[..., Awaitable[Any]]


async def sent(mails_of: Call, user: User) -> list[bool]:
    return [mail.sent_at is not None for mail in await mails_of(user)]


async def test_a_letter_goes_to_its_address_and_its_row_says_when(
    user: User, post: Call, send: Call, mails_of: Call, mail_server: MailServer, settings: AuthSettings
) -> None:
    mail = await post("password_changed", user, facts={"from_address": "192.0.2.7"})
    await send(mail.id)
    [letter] = mail_server.to(user.email)
    assert letter.sender == settings.mail_from
    assert letter.message_id == f"<{mail.id}@paddock.example>"
    assert "192.0.2.7" in letter.text
    [row] = await mails_of(user)
    assert row.sent_at is not None
    assert clock.now() - row.sent_at < timedelta(minutes=1)


async def test_a_letter_that_was_sent_is_not_sent_again(
    user: User, post: Call, send: Call, mail_server: MailServer
) -> None:
    mail = await post("password_changed", user)
    await send(mail.id)
    await send(mail.id)
    assert len(mail_server.to(user.email)) == 1


async def test_a_letter_of_somebody_who_is_erased_is_nothing(
    user: User, post: Call, send: Call, database: Database
) -> None:
    mail = await post("password_changed", user)
    async with database.transaction() as session:
        await session.delete(await session.get(User, user.id))
    await send(mail.id)


@pytest.mark.parametrize("answer", ["450 4.2.0 busy", "421 4.3.2 closing", "452 4.2.2 <{address}> over quota"])
async def test_a_recipient_who_is_not_taken_for_now_is_tried_again(
    answer: str, user: User, post: Call, send: Call, mails_of: Call, mail_server: MailServer
) -> None:
    mail = await post("password_changed", user)
    mail_server.refusals[user.email] = answer.format(address=user.email)
    with pytest.raises(UnavailableError) as away:
        await send(mail.id)
    assert user.email not in repr(away.value)
    assert await sent(mails_of, user) == [False]
    del mail_server.refusals[user.email]
    await send(mail.id)
    assert await sent(mails_of, user) == [True]


@pytest.mark.parametrize("attribute", ["refusals", "data_refusal"])
async def test_a_refusal_for_good_is_written_down_without_the_address_and_not_tried_again(
    attribute: str, user: User, post: Call, send: Call, mails_of: Call, mail_server: MailServer
) -> None:
    mail = await post("password_changed", user)
    answer = f"550 5.1.1 <{user.email}> nobody here"
    if attribute == "refusals":
        mail_server.refusals[user.email] = answer
    else:
        mail_server.data_refusal = answer
    await send(mail.id)
    mail_server.data_refusal = None
    mail_server.refusals.clear()
    [row] = await mails_of(user)
    assert row.sent_at is None
    assert row.dropped_at is not None
    assert row.dropped_because in {"the server refuses the recipient: 550", "the server refuses the letter: 550"}
    await send(mail.id)
    assert mail_server.to(user.email) == []


async def test_a_server_that_refuses_our_sender_is_our_fault_and_no_letter_is_lost(
    user: User, post: Call, send: Call, mails_of: Call, mail_server: MailServer
) -> None:
    mail = await post("password_changed", user)
    mail_server.sender_refusal = "553 5.7.1 not from you"
    try:
        with pytest.raises(UnavailableError):
            await send(mail.id)
    finally:
        mail_server.sender_refusal = None
    await send(mail.id)
    assert await sent(mails_of, user) == [True]


async def test_a_line_that_is_cut_in_the_middle_of_a_letter_loses_nothing(
    user: User, post: Call, send: Call, mails_of: Call, mail_server: MailServer
) -> None:
    mail = await post("password_changed", user)
    mail_server.cuts = 1
    with pytest.raises(UnavailableError):
        await send(mail.id)
    await send(mail.id)
    assert await sent(mails_of, user) == [True]
    assert len(mail_server.to(user.email)) == 1


async def test_a_server_that_says_nothing_is_given_up_in_time(
    user: User, post: Call, mails_of: Call, settings: AuthSettings, database: Database
) -> None:
    mail = await post("password_changed", user)
    silent = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    hasty = msgspec.structs.replace(settings, smtp_port=port, smtp_seconds=1)
    started = asyncio.get_running_loop().time()
    with pytest.raises(UnavailableError, match="Timeout"):
        await deliver(hasty, database, mail)
    assert asyncio.get_running_loop().time() - started < 4
    silent.close()
    assert await sent(mails_of, user) == [False]


async def deliver(settings: AuthSettings, database: Database, mail: Mail) -> None:
    async with database.transaction() as session:
        await Postman(settings).send_mail(MailRequested(mail_id=mail.id, kind=mail.kind), session)


async def test_a_letter_that_no_server_took_for_days_is_given_up(
    user: User, post: Call, send: Call, mails_of: Call, mail_server: MailServer, database: Database
) -> None:
    mail = await post("password_changed", user)
    async with database.transaction() as session:
        long_ago = clock.now() - timedelta(days=5, minutes=1)
        await session.execute(update(Mail).where(Mail.id == mail.id).values(created_at=long_ago))
    await send(mail.id)
    [row] = await mails_of(user)
    assert row.dropped_because == "no server took it in time"
    assert mail_server.to(user.email) == []


@pytest.mark.parametrize("change", ["used", "expired", "other secret", "blocked"])
async def test_a_letter_whose_link_is_no_good_any_more_is_not_sent(
    change: str,
    user: User,
    post: Call,
    mails_of: Call,
    mail_server: MailServer,
    database: Database,
    settings: AuthSettings,
) -> None:
    mail = await post("reset_password", user)
    values: dict[str, Any] = {"used": {"used_at": clock.now()}, "expired": {"expires_at": clock.now()}}
    async with database.transaction() as session:
        if change in values:
            await session.execute(update(OneTimeToken).where(OneTimeToken.id == mail.token_id).values(values[change]))
        if change == "blocked":
            await session.execute(update(User).where(User.id == user.id).values(deactivated_at=clock.now()))
    secret = "another secret of at least 32 characters" if change == "other secret" else settings.token_secret
    await deliver(msgspec.structs.replace(settings, token_secret=secret), database, mail)
    [row] = await mails_of(user)
    assert row.dropped_at is not None
    assert mail_server.to(user.email) == []


async def test_a_letter_that_can_only_fail_by_a_bug_of_ours_does_not_block_the_others(
    client: object, user: User, user_made: Call, settings: AuthSettings, database: Database, arrived: Call
) -> None:
    del client
    from auth import mails  # noqa: PLC0415 - beside what it breaks

    async with database.transaction() as session:
        broken = await mails.post(session, "password_changed", user, settings=settings, facts={"until": "never"})
        assert broken is not None
        other = await user_made()
        await mails.post(session, "password_changed", other, settings=settings)
    await arrived(other.email, "password")


async def test_every_letter_arrives_after_the_server_was_away_for_long(
    client: object,
    user_made: Call,
    settings: AuthSettings,
    database: Database,
    mail_server: MailServer,
    mails_of: Call,
    arrived: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del client  # the app runs, with its consumer
    from auth import mails  # noqa: PLC0415

    monkeypatch.setattr(delivery, "OUTAGE_DELAYS_SECONDS", (0.05, 0.1, 0.2))  # two minutes become two seconds
    people = [await user_made() for _ in range(12)]
    await mail_server.stop()
    try:
        async with database.transaction() as session:
            for person in people:
                await mails.post(session, Kind.VERIFY_EMAIL, person, settings=settings)
        await asyncio.sleep(2)
        assert [await sent(mails_of, person) for person in people] == [[False]] * len(people)
    finally:
        await mail_server.start()
    for person in people:
        await arrived(person.email, "Confirm")
        assert len(mail_server.to(person.email)) == 1


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    from lab.certificates import certify  # noqa: PLC0415

    file = certify(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return file, context


@pytest.fixture(params=[SmtpSecurity.STARTTLS, SmtpSecurity.TLS])
async def guarded(
    request: pytest.FixtureRequest, certificate: tuple[Path, ssl.SSLContext], settings: AuthSettings
) -> AsyncIterator[tuple[MailServer, AuthSettings]]:
    """A mail server that wants TLS and a login, and settings that have both."""
    file, context = certificate
    if request.param is SmtpSecurity.TLS:
        server = MailServer(implicit_tls=context, auth_required=True, auth_require_tls=False)
    else:
        server = MailServer(tls_context=context, require_starttls=True, auth_required=True)
    server.credentials = (b"paddock", b"a secret of the server")
    async with server:
        yield (
            server,
            msgspec.structs.replace(
                settings,
                smtp_host="localhost",
                smtp_port=server.port,
                smtp_security=request.param,
                smtp_ca_file=str(file),
                smtp_username="paddock",
                smtp_password="a secret of the server",
            ),
        )


async def test_a_server_that_wants_tls_and_a_login_gets_both(
    guarded: tuple[MailServer, AuthSettings], user: User, post: Call, database: Database
) -> None:
    server, settings = guarded
    await deliver(settings, database, await post("password_changed", user))
    assert len(server.to(user.email)) == 1
    assert server.over_tls == [True]
    assert server.logins == [True]


@pytest.mark.parametrize("change", [{"smtp_password": "wrong"}, {"smtp_ca_file": None}, {"smtp_host": "127.0.0.1"}])
async def test_a_wrong_login_and_a_certificate_of_another_name_send_nothing_and_lose_nothing(
    change: dict[str, Any],
    guarded: tuple[MailServer, AuthSettings],
    user: User,
    post: Call,
    database: Database,
    mails_of: Call,
) -> None:
    server, settings = guarded
    mail = await post("password_changed", user)
    with pytest.raises(UnavailableError):
        await deliver(msgspec.structs.replace(settings, smtp_seconds=2, **change), database, mail)
    assert server.box.all() == []
    assert await sent(mails_of, user) == [False]
    assert set(server.logins) == ({False} if "smtp_password" in change else set())


async def test_a_server_without_tls_gets_no_letter_when_tls_is_asked_for(
    user: User, post: Call, mail_server: MailServer, settings: AuthSettings, database: Database
) -> None:
    mail = await post("password_changed", user)
    with pytest.raises(UnavailableError):
        await deliver(msgspec.structs.replace(settings, smtp_security=SmtpSecurity.STARTTLS), database, mail)
    assert mail_server.to(user.email) == []
