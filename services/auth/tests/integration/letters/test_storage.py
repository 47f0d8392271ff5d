"""After every flow neither the database nor the event stream holds a token that anybody could use."""

import base64
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import httpx

from auth.links import PREFIX
from common import topology
from devstack.testing import Servers
from lab.mail_server import MailServer
from lab.wire import connected, read_all

Call = Callable[..., Awaitable[Any]]


async def dump(servers: Servers) -> str:
    """Write out every row of every table as `pg_dump` does, and bytes also as the text that they may be."""
    connection = await asyncpg.connect(servers.database_url)
    try:
        query = "SELECT relname FROM pg_class WHERE relnamespace = 'auth'::regnamespace AND relkind = 'r'"
        tables = [record["relname"] for record in await connection.fetch(query)]
        values = [
            value
            for table in tables
            for record in await connection.fetch(f'SELECT * FROM auth."{table}"')
            for value in record.values()
        ]
    finally:
        await connection.close()
    assert {"mails", "one_time_tokens", "outbox", "audit"} <= set(tables)
    return "\n".join(
        f"{value.hex()} {value.decode('latin-1')}" if isinstance(value, bytes) else str(value) for value in values
    )


async def streamed(servers: Servers) -> str:
    async with connected(servers.nats_url) as js:
        messages = await read_all(js, topology.EVENTS)
    return "\n".join(f"{message.subject} {message.headers} {message.data.decode('latin-1')}" for message in messages)


async def test_no_token_of_a_letter_is_in_the_database_or_in_an_event(
    client: httpx.AsyncClient, newcomer: Call, arrived: Call, mail_server: MailServer, prepared: Servers
) -> None:
    someone, new = await newcomer(), f"{uuid4().hex}@example.com"

    async def post(path: str, **body: str) -> None:
        answer = await client.post(f"/api/v1{path}", json=body, headers=someone.headers)
        assert answer.is_success, answer.text

    proof = await arrived(someone.email, "Confirm")
    await post("/auth/request-verify-token", email=someone.email)
    await post("/auth/forgot-password", email=someone.email)
    password = await arrived(someone.email, "new password")
    await post("/users/me/email", email=new, current_password=someone.password)
    address = await arrived(new, "new e-mail")
    await post("/auth/reset-password", token=token_in(password), password="Parabolica-77")
    del proof, address
    tokens = [token_in(letter) for letter in mail_server.box.all() if letter.links]
    assert len(tokens) > 3
    everything = await dump(prepared) + await streamed(prepared)
    assert someone.username in everything
    for token in tokens:
        raw = base64.urlsafe_b64decode(token.removeprefix(PREFIX))
        for form in (token, token.removeprefix(PREFIX)[24:], raw.hex(), raw[16:].hex()):
            assert form not in everything


def token_in(letter: Any) -> str:
    token: str = letter.links[0].partition("#token=")[2]
    return token
