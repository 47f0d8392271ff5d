"""Proving an address, changing it, and asking whether one is free."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import jwt
import msgspec
import pytest
from sqlalchemy import select

from auth import mails
from auth.emails import Emails
from auth.links import Links, Purpose
from auth.models import AuditEntry, Mail, OneTimeToken, User
from auth.origin import Origin
from auth.settings import AuthSettings
from common.db import Database
from common.errors import NotFoundError, TooManyRequestsError
from devstack.testing import eventually
from lab.mail_server import MailServer
from paddock_mailbox.letters import Letter

Call = Callable[..., Awaitable[Any]]
HERE = Origin(address="192.0.2.7", user_agent=None, request_id=None)


def token_in(letter: Letter) -> str:
    return letter.links[0].partition("#token=")[2]


async def verified(client: httpx.AsyncClient, someone: Any) -> bool:
    body = (await client.get("/api/v1/users/me", headers=someone.headers)).json()
    return bool(body["email_verified"])


async def confirm(client: httpx.AsyncClient, operation: str, token: str, **headers: str) -> httpx.Response:
    return await client.post(f"/api/v1/auth/{operation}", json={"token": token}, headers=headers)


async def test_whoever_registers_gets_a_letter_and_proves_the_address_with_it(
    client: httpx.AsyncClient, newcomer: Call, arrived: Call, settings: AuthSettings
) -> None:
    someone = await newcomer()
    letter = await arrived(someone.email, "Confirm")
    assert letter.links[0].startswith(f"{settings.link_url}/verify#token=pdl_")
    assert not await verified(client, someone)
    assert (await confirm(client, "verify", token_in(letter))).status_code == 204
    assert await verified(client, someone)
    again = await confirm(client, "verify", token_in(letter))
    assert (again.status_code, again.json()["code"]) == (409, "invalid_link")


async def test_access_tokens_say_that_an_address_is_proved_from_then_on(
    client: httpx.AsyncClient, newcomer: Call, arrived: Call
) -> None:
    someone = await newcomer()
    await confirm(client, "verify", token_in(await arrived(someone.email, "Confirm")))
    tokens = (await client.post("/api/v1/auth/refresh", json={"refresh_token": someone.tokens["refresh_token"]})).json()
    before, after = (
        jwt.decode(token, options={"verify_signature": False})["email_verified"]
        for token in (someone.tokens["access_token"], tokens["access_token"])
    )
    assert (before, after) == (False, True)


async def test_the_letter_comes_again_when_asked_for_and_only_the_newest_link_is_good(
    client: httpx.AsyncClient, newcomer: Call, arrived: Call, mail_server: MailServer
) -> None:
    someone = await newcomer()
    old = await arrived(someone.email, "Confirm")
    asked = await client.post("/api/v1/auth/request-verify-token", json={"email": someone.email.upper()})
    assert asked.status_code == 200

    async def second() -> bool:
        return len(mail_server.to(someone.email)) == 2

    await eventually(second, seconds=15, what="a second letter")
    new = mail_server.to(someone.email)[0]
    assert (await confirm(client, "verify", token_in(old))).status_code == 409
    assert (await confirm(client, "verify", token_in(new))).status_code == 204


@pytest.mark.parametrize("operation", ["request-verify-token", "forgot-password"])
async def test_the_answer_tells_nothing_about_an_address(
    operation: str, client: httpx.AsyncClient, newcomer: Call
) -> None:
    someone = await newcomer()
    answers = [
        await client.post(f"/api/v1/auth/{operation}", json={"email": email})
        for email in (someone.email, f"{uuid4().hex}@example.com")
    ]
    plain = [
        (answer.status_code, answer.content, {k: v for k, v in answer.headers.items() if k != "x-request-id"})
        for answer in answers
    ]
    assert plain[0] == plain[1]
    assert answers[0].status_code == 200


async def test_the_work_in_a_request_is_the_same_whether_somebody_has_the_address_or_not(
    client: httpx.AsyncClient, user: User, database: Database
) -> None:
    del client
    statements: dict[str, list[str]] = {}
    emails = Emails(AuthSettings(), database)
    from sqlalchemy import event  # noqa: PLC0415 - only here

    for address in (user.email, f"{uuid4().hex}@example.com"):
        seen = statements[address] = []

        def note(*args: Any, seen: list[str] = seen) -> None:
            seen.append(args[2])

        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
        async with database.transaction() as session:
            await emails.ask(session, mails.Request.RESET, address, HERE)
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    known, unknown = statements.values()
    assert known == unknown
    assert not [statement for statement in known if "users" in statement]


async def test_a_request_for_an_address_that_nobody_has_leaves_nothing_behind(
    client: httpx.AsyncClient, database: Database, mail_server: MailServer
) -> None:
    address = f"{uuid4().hex}@example.com"
    await client.post("/api/v1/auth/forgot-password", json={"email": address})

    async def gone() -> bool:
        async with database.transaction() as session:
            return await session.scalar(select(Mail.id).where(Mail.address == address)) is None

    await eventually(gone, seconds=15, what="the end of the request")
    assert mail_server.to(address) == []


@pytest.mark.parametrize(
    "email", ["nobody", "a@b", "a b@example.com", "max@example.com\nBcc: x@example.com", "@example.com"]
)
@pytest.mark.parametrize("operation", ["request-verify-token", "forgot-password"])
async def test_what_is_no_address_is_refused(operation: str, email: str, client: httpx.AsyncClient) -> None:
    answer = await client.post(f"/api/v1/auth/{operation}", json={"email": email})
    assert answer.status_code == 422


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80"])
async def test_a_forged_host_changes_no_link(
    host: str, client: httpx.AsyncClient, user: User, arrived: Call, settings: AuthSettings
) -> None:
    forged = {"Host": host, "X-Forwarded-Host": host, "Forwarded": f"host={host}", "Origin": f"https://{host}"}
    await client.post("/api/v1/auth/forgot-password", json={"email": user.email}, headers=forged)
    letter = await arrived(user.email, "password")
    assert letter.links == [link for link in letter.links if link.startswith(f"{settings.link_url}/")]
    assert "evil" not in letter.text + letter.html


async def test_somebody_is_not_flooded_by_requests_for_letters(
    user: User, database: Database, settings: AuthSettings, mails_of: Call
) -> None:
    for request, kind in ((mails.Request.RESET, "reset_password"), (mails.Request.VERIFY, "verify_email")):
        for _ in range(20):
            async with database.transaction() as session:
                mail = Mail(id=uuid4(), kind=request.value, address=user.email, facts={}, created_at=user.created_at)
                session.add(mail)
                await session.flush()
                await mails.answer(session, mail, settings=settings)
        assert len([mail for mail in await mails_of(user) if mail.kind == kind]) == 3


async def test_an_address_is_not_flooded_by_many_accounts(
    user_made: Call, database: Database, settings: AuthSettings
) -> None:
    victim = f"{uuid4().hex}@example.com"
    posted = []
    for _ in range(15):
        someone = await user_made()
        async with database.transaction() as session:
            posted.append(await mails.post(session, "change_email", someone, settings=settings, address=victim))
    assert len([mail for mail in posted if mail]) == 10


async def test_one_sender_can_ask_for_letters_so_often_and_no_more(database: Database) -> None:
    strict = AuthSettings(limit_forgot_address="3/3600", limit_resend_address="2/3600")
    emails = Emails(strict, database)
    here = msgspec.structs.replace(HERE, address="198.51.100.77")
    for request, count in ((mails.Request.RESET, 3), (mails.Request.VERIFY, 2)):
        for _ in range(count):
            async with database.transaction() as session:
                await emails.ask(session, request, f"{uuid4().hex}@example.com", here)
        with pytest.raises(TooManyRequestsError):
            async with database.transaction() as session:
                await emails.ask(session, request, f"{uuid4().hex}@example.com", here)


async def test_guessing_links_is_limited_although_each_guess_fails(database: Database) -> None:
    emails = Emails(AuthSettings(limit_verify_address="4/60"), database)
    here = msgspec.structs.replace(HERE, address="198.51.100.78")
    for _ in range(4):
        await emails.spend(here)
    with pytest.raises(TooManyRequestsError):
        await emails.spend(here)


async def ask_change(someone: Any, email: str, password: str | None = None) -> httpx.Response:
    body = {"email": email, "current_password": password or someone.password}
    answer: httpx.Response = await someone.call("POST", "/users/me/email", body)
    return answer


async def test_an_address_changes_when_the_link_sent_to_the_new_one_is_used(
    client: httpx.AsyncClient, newcomer: Call, arrived: Call, database: Database
) -> None:
    someone, new = await newcomer(), f"{uuid4().hex}@example.com"
    assert (await ask_change(someone, new)).status_code == 202
    letter = await arrived(new, "new e-mail")
    assert (await someone.get("/users/me")).json()["email"] == someone.email
    assert (await confirm(client, "confirm-email", token_in(letter), **someone.headers)).status_code == 204
    account = (await someone.get("/users/me")).json()
    assert (account["email"], account["email_verified"]) == (new, True)
    told = await arrived(someone.email, "was changed")
    assert new not in told.text
    assert f"{new[0]}…@example.com" in told.text
    async with database.transaction() as session:
        entries = select(AuditEntry).where(AuditEntry.target_id == someone.id).order_by(AuditEntry.id)
        by_action = {entry.action: entry for entry in await session.scalars(entries)}
    assert by_action["email.change"].after == {"email": f"{new[0]}…@example.com"}
    assert new not in str([(entry.before, entry.after) for entry in by_action.values()])


async def test_a_change_of_address_ends_other_sessions_and_every_other_link(
    client: httpx.AsyncClient, newcomer: Call, arrived: Call, database: Database, settings: AuthSettings
) -> None:
    someone, new = await newcomer(), f"{uuid4().hex}@example.com"
    other = (await someone.log_in()).json()
    async with database.transaction() as session:
        owner = await session.get_one(User, someone.id)
        reset = await Links(settings).issue(session, owner, Purpose.RESET_PASSWORD, owner.email)
    await ask_change(someone, new)
    await confirm(client, "confirm-email", token_in(await arrived(new)), **someone.headers)
    refresh = "/api/v1/auth/refresh"
    kept, ended = [
        (await client.post(refresh, json={"refresh_token": tokens["refresh_token"]})).status_code
        for tokens in (someone.tokens, other)
    ]
    assert (kept, ended) == (200, 401)
    body = {"token": Links(settings).token(reset), "password": "Parabolica-77"}
    assert (await client.post("/api/v1/auth/reset-password", json=body)).status_code == 409
    async with database.transaction() as session:
        live = select(OneTimeToken).where(OneTimeToken.user_id == someone.id, OneTimeToken.used_at.is_(None))
        assert (await session.scalars(live)).all() == []


async def test_a_link_used_without_a_session_ends_every_session(
    client: httpx.AsyncClient, newcomer: Call, arrived: Call
) -> None:
    someone, new = await newcomer(), f"{uuid4().hex}@example.com"
    stranger = await newcomer()
    await ask_change(someone, new)
    letter = await arrived(new)
    assert (await confirm(client, "confirm-email", token_in(letter), **stranger.headers)).status_code == 204
    for who, status in ((someone, 401), (stranger, 200)):
        body = {"refresh_token": who.tokens["refresh_token"]}
        assert (await client.post("/api/v1/auth/refresh", json=body)).status_code == status


async def test_a_change_of_address_takes_the_password(newcomer: Call, mail_server: MailServer) -> None:
    someone, new = await newcomer(), f"{uuid4().hex}@example.com"
    wrong = await ask_change(someone, new, "Wrong-Password-1")
    assert (wrong.status_code, wrong.json()["code"]) == (403, "wrong_password")
    assert mail_server.to(new) == []


async def test_an_address_that_is_the_same_or_somebody_elses_is_refused(newcomer: Call) -> None:
    someone, other = await newcomer(), await newcomer()
    same = await ask_change(someone, someone.email)
    taken = await ask_change(someone, other.email.upper())
    assert (same.status_code, same.json()["code"]) == (409, "same_email")
    assert (taken.status_code, taken.json()["code"]) == (409, "email_taken")
    assert (await ask_change(someone, "nobody")).status_code == 422


async def test_somebody_may_ask_for_so_many_addresses_and_no_more(newcomer: Call) -> None:
    someone = await newcomer()
    asked = [await ask_change(someone, f"{uuid4().hex}@example.com") for _ in range(4)]
    assert [answer.status_code for answer in asked] == [202, 202, 202, 429]
    assert int(asked[-1].headers["retry-after"]) > 0


async def test_an_address_taken_while_the_letter_was_on_its_way_is_refused_and_nothing_changes(
    client: httpx.AsyncClient, newcomer: Call, arrived: Call
) -> None:
    someone, new = await newcomer(), f"{uuid4().hex}@example.com"
    await ask_change(someone, new)
    letter = await arrived(new)
    await newcomer(email=new)
    refused = await confirm(client, "confirm-email", token_in(letter))
    assert (refused.status_code, refused.json()["code"]) == (409, "email_taken")
    assert (await someone.get("/users/me")).json()["email"] == someone.email


async def test_of_two_who_confirm_the_same_address_at_once_one_gets_it(
    client: httpx.AsyncClient, newcomer: Call, mail_server: MailServer
) -> None:
    new, people = f"{uuid4().hex}@example.com", [await newcomer() for _ in range(2)]
    for person in people:
        await ask_change(person, new)

    async def both() -> bool:
        return len(mail_server.to(new)) == 2

    await eventually(both, seconds=15, what="two letters")
    answers = await asyncio.gather(
        *(confirm(client, "confirm-email", token_in(letter)) for letter in mail_server.to(new))
    )
    assert sorted(answer.status_code for answer in answers) == [204, 409]


async def test_where_accounts_are_hidden_a_taken_address_is_answered_as_any_other_and_its_owner_is_told(
    user_made: Call, database: Database, settings: AuthSettings, post: Call, send: Call
) -> None:
    hidden = msgspec.structs.replace(settings, hide_accounts=True)
    someone, holder = await user_made(), await user_made()
    for address in (holder.email, f"{uuid4().hex}@example.com"):
        async with database.transaction() as session:
            await Emails(hidden, database).ask_change(session, someone, address, HERE)
    mail = await post("change_email", someone, address=holder.email)
    await send(mail.id)

    async with database.transaction() as session:
        row = await session.get_one(Mail, mail.id)
        assert row.dropped_because == "the address is another account's"
        kinds = await session.scalars(select(Mail.kind).where(Mail.user_id == holder.id))
        assert set(kinds) == {"already_registered"}


async def test_whether_a_name_is_free_can_be_asked(client: httpx.AsyncClient, newcomer: Call) -> None:
    someone = await newcomer()
    free = uuid4().hex[:20]
    for operation, parameter, taken, other in (
        ("check-email", "email", someone.email.upper(), f"{free}@example.com"),
        ("check-username", "username", someone.username.upper(), free),
    ):
        for value, available in ((taken, False), (other, True)):
            answer = await client.get(f"/api/v1/auth/{operation}", params={parameter: value})
            assert (answer.status_code, answer.json()) == (200, {"available": available})
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("operation", "query"),
    [
        ("check-email", "email=nobody"),
        ("check-email", ""),
        ("check-username", "username=a"),
        ("check-username", "username=a%20b"),
        ("check-username", "username=" + "a" * 51),
    ],
)
async def test_what_could_be_no_name_is_not_looked_for(operation: str, query: str, client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/api/v1/auth/{operation}?{query}")).status_code == 422


@pytest.mark.parametrize(
    ("change", "email", "username"),
    [({"hide_accounts": True}, False, True), ({"check_names": False}, False, False), ({}, True, True)],
)
async def test_what_may_be_asked_is_a_setting(
    change: dict[str, Any], *, email: bool, username: bool, database: Database, settings: AuthSettings
) -> None:
    emails = Emails(msgspec.structs.replace(settings, **change), database)
    for told, question in (
        (email, emails.is_free("a@example.com", HERE)),
        (username, emails.is_username_free("a_b", HERE)),
    ):
        if told:
            assert await question
        else:
            with pytest.raises(NotFoundError):
                await question


async def test_asking_whether_names_are_free_is_limited(database: Database) -> None:
    emails = Emails(AuthSettings(limit_check_address="3/60"), database)
    here = msgspec.structs.replace(HERE, address="198.51.100.79")
    for _ in range(3):
        await emails.is_username_free(uuid4().hex, here)
    with pytest.raises(TooManyRequestsError):
        await emails.is_free(f"{uuid4().hex}@example.com", here)
