"""A token is good or it is a 401, at the gateway and at every service alike, and the answer does not say why."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from attack.people import People, Person
from attack.tokens import BAD, HEADERS, Mint, oversize
from attack.world import World

FOR_USERS = {
    "gateway": "/api/v1/teams",
    "gateway, where a token is optional": "/api/v1/races",
    "auth": "/api/v1/users/me",
    "leagues": "/api/v1/teams",
    "scoring": f"/api/v1/leagues/{uuid4()}/leaderboard",
    "webhooks": "/api/v1/webhooks",
}
FOR_ADMINS = {"gateway": "/api/v1/admin/admins", "auth": "/api/v1/admin/admins"}
WITHOUT_TOKENS = {"ingest": "/api/v1/races", "analytics": "/api/v1/analytics/standings/drivers"}
"""The services that take no token at all."""
REFUSAL = {
    "type": "urn:paddock:problem:invalid_token",
    "title": "Unauthorized",
    "status": 401,
    "detail": "The access token is missing, expired or not valid.",
    "code": "invalid_token",
    "errors": [],
}
Header = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module")
async def user(people: People) -> Person:
    return await people.user()


@pytest.fixture(scope="module")
async def mints(world: World, people: People, user: Person) -> dict[str, Mint]:
    admin = await people.admin()
    signer = await world.apps["auth"].state.signing_keys.signer()
    refresh = user.refresh
    return {
        "users": Mint(
            good=user.token,
            elsewhere=admin.token,
            audience_elsewhere=world.settings.token_admin_audience,
            refresh=refresh,
            signer=signer,
        ),
        "admins": Mint(
            good=admin.token,
            elsewhere=user.token,
            audience_elsewhere=world.settings.token_audience,
            refresh=refresh,
            signer=signer,
        ),
    }


@pytest.fixture
def paths(request: pytest.FixtureRequest) -> dict[str, str]:
    found: dict[str, str] = FOR_USERS if request.param == "users" else FOR_ADMINS
    return found


@pytest.fixture
def mint(request: pytest.FixtureRequest, mints: dict[str, Mint]) -> Mint:
    return mints[request.param]


both = pytest.mark.parametrize(("mint", "paths"), [("users", "users"), ("admins", "admins")], indirect=True)


async def answer(world: World, where: str, path: str, headers: Header) -> httpx.Response:
    return await world.http.get(world.urls[where.partition(",")[0]] + path, headers=headers)


def told(response: httpx.Response) -> dict[str, Any]:
    """Everything that an answer says, apart from the request's id and the time."""
    body = dict(response.json())
    assert body.pop("request_id") == response.headers["x-request-id"]
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/problem+json"
    assert "set-cookie" not in response.headers
    return body


@both
async def test_a_good_token_is_good_everywhere(world: World, mint: Mint, paths: dict[str, str]) -> None:
    for where, path in paths.items():
        response = await answer(world, where, path, [(b"authorization", b"Bearer " + mint.good.encode())])
        assert response.status_code in {200, 403, 404}, (where, response.text)


@both
@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_refused_everywhere_with_the_same_words(
    name: str, world: World, mint: Mint, paths: dict[str, str]
) -> None:
    bad = BAD[name](mint)
    assert bad != mint.good
    for where, path in paths.items():
        response = await answer(world, where, path, [(b"authorization", b"Bearer " + bad.encode("latin-1"))])
        assert (where, told(response)) == (where, REFUSAL)


@both
@pytest.mark.parametrize("name", HEADERS)
async def test_what_is_no_bearer_token_is_refused_everywhere_with_the_same_words(
    name: str, world: World, mint: Mint, paths: dict[str, str]
) -> None:
    headers = HEADERS[name](mint)
    for where, path in paths.items():
        response = await answer(world, where, path, headers)
        if "optional" in where and not any(key == b"authorization" for key, _ in headers):
            assert response.status_code == 200, "whoever shows no token is anybody"
        else:
            assert (where, told(response)) == (where, REFUSAL)


@both
async def test_nobody_without_a_token_gets_in(world: World, mint: Mint, paths: dict[str, str]) -> None:
    assert mint.good
    for where, path in paths.items():
        if "optional" not in where:
            assert (where, told(await answer(world, where, path, []))) == (where, REFUSAL)


@both
async def test_a_token_larger_than_all_headers_may_be_ends_before_anybody_reads_it(
    world: World, mint: Mint, paths: dict[str, str]
) -> None:
    token = oversize(mint)
    assert len(token) > 64 * 1024
    for where, path in paths.items():
        response = await answer(world, where, path, [(b"authorization", b"Bearer " + token.encode())])
        assert response.status_code in {400, 401, 431}, where


async def test_services_without_tokens_do_not_look_at_any(world: World, mints: dict[str, Mint]) -> None:
    for where, path in WITHOUT_TOKENS.items():
        plain = await answer(world, where, path, [])
        for name in ("alg none without a signature", "expired", "not ASCII"):
            bad = BAD[name](mints["users"])
            response = await answer(world, where, path, [(b"authorization", b"Bearer " + bad.encode("latin-1"))])
            assert response.status_code == plain.status_code != 401
            assert response.json() | {"request_id": ""} == plain.json() | {"request_id": ""}


def test_there_are_as_many_bad_tokens_as_are_asked_for() -> None:
    assert len(BAD) + len(HEADERS) >= 25


async def test_a_personal_access_token_is_good_at_the_gateway_alone(world: World, user: Person) -> None:
    body = {"name": "overlay", "scopes": ["leagues:read"], "expires_in_days": 30}
    made = await world.http.post(world.urls["auth"] + "/api/v1/users/me/tokens", json=body, headers=user.headers)
    assert made.status_code == 201, made.text
    header = [(b"authorization", b"Bearer " + made.json()["token"].encode())]
    assert (await answer(world, "gateway", FOR_USERS["gateway"], header)).status_code == 200
    for where in ("auth", "leagues", "scoring", "webhooks"):
        assert told(await answer(world, where, FOR_USERS[where], header)) == REFUSAL
    for where, path in FOR_ADMINS.items():
        assert told(await answer(world, where, path, header)) == REFUSAL
