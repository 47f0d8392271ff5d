"""Who has an account is told to nobody: status, headers and their order, body and length are the same for all.

What the work behind an answer costs is counted in `services/auth/tests/integration/test_no_oracle.py`; what it takes in
time is compared in `bench/login.py` and `bench/oracle.py`.
"""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from attack.people import PASSWORD, People, Person
from attack.world import World, serving
from auth.app import create_app
from devstack.ports import free_port

LOGIN, REGISTER = "/api/v1/auth/login", "/api/v1/auth/register"
WRONG = "Slipstream-44-behind"
Told = tuple[int, list[tuple[str, str]], Any, int]
VARYING = {"date", "x-request-id"}


@pytest.fixture(scope="module")
async def hiding(world: World) -> AsyncIterator[str]:
    """Another `auth` on the same database, which hides accounts."""
    port = free_port()
    settings = msgspec.structs.replace(world.settings, hide_accounts=True)
    async with serving(create_app(settings), port) as url:
        yield url


@pytest.fixture(params=["open", "hiding"])
def base(request: pytest.FixtureRequest, world: World, hiding: str) -> str:
    """Both modes."""
    return hiding if request.param == "hiding" else world.urls["auth"]


@pytest.fixture(scope="module")
async def somebody(world: World, people: People) -> dict[str, Person]:
    """Accounts in every state, their names as long as each other."""
    found = {kind: await people.user(verified=kind != "unproved") for kind in STATES}
    await world.rows("auth", "UPDATE users SET deactivated_at = now() WHERE id = :id", id=found["deactivated"].id)
    await world.rows("auth", "UPDATE users SET deleted_at = now() WHERE id = :id", id=found["deleted"].id)
    await world.rows("auth", "UPDATE users SET must_reset_password = true WHERE id = :id", id=found["must reset"].id)
    return found


STATES = ("active", "unproved", "deactivated", "deleted", "must reset")


def nobody() -> str:
    return f"player_{uuid4().hex[:12]}"


def told(response: httpx.Response, ours: set[str] = frozenset()) -> Told:  # type: ignore[assignment] # never changed
    """Everything that a client sees, apart from what is new in every answer."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in VARYING]
    body = response.json()
    assert "set-cookie" not in response.headers
    return (
        response.status_code,
        headers,
        {name: value for name, value in body.items() if name not in {"request_id", *ours}},
        len(response.content),
    )


async def test_a_login_that_fails_does_not_tell_why(base: str, world: World, somebody: dict[str, Person]) -> None:
    names = {"nobody": nobody()} | {kind: one.username for kind, one in somebody.items()}
    for by_address in (False, True):
        answers = {}
        for kind, name in names.items():
            body = {"username": f"{name}@example.org" if by_address else name, "password": WRONG}
            answers[kind] = told(await world.http.post(base + LOGIN, json=body))
        assert answers == dict.fromkeys(answers, answers["nobody"])
        assert answers["nobody"][0] == 401


@pytest.mark.parametrize("path", ["forgot-password", "request-verify-token"])
async def test_asking_for_a_letter_does_not_tell_whether_one_is_sent(
    path: str, base: str, world: World, somebody: dict[str, Person]
) -> None:
    addresses = {"nobody": f"{nobody()}@example.org"} | {kind: one.email for kind, one in somebody.items()}
    addresses |= {"in capitals": somebody["active"].email.upper(), "another domain": f"{nobody()}@nowhere.org"}
    answers = {}
    for kind, address in addresses.items():
        answers[kind] = told(await world.http.post(f"{base}/api/v1/auth/{path}", json={"email": address}))
    assert answers == dict.fromkeys(answers, answers["nobody"])
    assert answers["nobody"][0] == 200


async def test_opening_an_account_does_not_tell_whose_address_is_taken_where_accounts_are_hidden(
    hiding: str, world: World, somebody: dict[str, Person]
) -> None:
    addresses = {"nobody": f"{nobody()}@example.org"} | {kind: one.email for kind, one in somebody.items()}
    answers = {}
    for kind, address in addresses.items():
        body = {"username": nobody(), "email": address, "password": PASSWORD}
        response = await world.http.post(hiding + REGISTER, json=body)
        assert response.json()["email"] == address
        answers[kind] = told(response, {"id", "username", "email", "created_at"})
    assert answers == dict.fromkeys(answers, answers["nobody"])
    assert answers["nobody"][0] == 201


async def test_whether_an_address_is_free_cannot_be_asked_where_accounts_are_hidden(
    hiding: str, world: World, somebody: dict[str, Person]
) -> None:
    url = f"{hiding}/api/v1/auth/check-email"
    taken = await world.http.get(url, params={"email": somebody["active"].email})
    free = await world.http.get(url, params={"email": f"{nobody()}@example.org"})
    assert told(taken) == told(free)
    assert taken.status_code == 404


async def test_a_search_finds_nobody_by_their_address_and_tells_none(
    base: str, world: World, people: People, somebody: dict[str, Person]
) -> None:
    viewer, wanted = somebody["active"], await people.user()
    url = f"{base}/api/v1/users/search"
    for question in (wanted.email, wanted.email.partition("@")[0] + "@", "@example.org", "example.org"):
        response = await world.http.get(url, params={"q": question}, headers=viewer.headers)
        assert response.status_code in {200, 422}, question
        assert wanted.username not in response.text, question
    by_name = await world.http.get(url, params={"q": wanted.username}, headers=viewer.headers)
    assert wanted.username in by_name.text
    assert "@" not in by_name.text


async def test_a_link_or_a_token_of_nobody_is_refused_as_one_that_was_used(base: str, world: World) -> None:
    for path, body in (("verify", {}), ("reset-password", {"password": PASSWORD})):
        answers = [
            told(await world.http.post(f"{base}/api/v1/auth/{path}", json={"token": "pdl_" + letter * 64} | body))
            for letter in "ab"
        ]
        assert answers[0] == answers[1]
        assert answers[0][0] == 409
