"""Nobody sets what is not theirs to set: no field beyond those of the document has an effect in any body."""

import copy
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import msgspec
import pytest

from attack.asks import ASKS, Ask
from attack.cast import Cast
from attack.matrix import PRIVILEGED, Driver, Operation
from attack.world import World

FORBIDDEN: dict[str, Any] = {
    "is_admin": True,
    "is_active": True,
    "is_verified": True,
    "is_superuser": True,
    "email_verified": True,
    "email_verified_at": "2026-01-01T00:00:00Z",
    "role": "admin",
    "user_id": "00000000-0000-0000-0000-000000000001",
    "owner_id": "00000000-0000-0000-0000-000000000001",
    "id": "00000000-0000-0000-0000-000000000001",
    "points": 1000,
    "budget": 10**9,
    "score": 1000,
    "scope": "users:write",
    "scopes": ["users:write", "leagues:write"],
    "password_hash": "x",
    "version": 99,
    "deleted_at": None,
    "__proto__": {"is_admin": True},
}
LENIENT = {("auth", "POST", "/api/v1/auth/login"), ("auth", "POST", "/api/v1/admin/auth/login")}
"""OAuth2 has a server ignore parameters that it does not know (RFC 6749, 3.2)."""
OTHER_SHAPES = ("[]", "null", "1", '"text"', "{", "", '{"nothing": 1}')
WITH_BODY = [operation for operation in sorted(ASKS) if operation[1] in {"POST", "PUT", "PATCH", "DELETE"}]


def mutants(body: Any) -> Iterator[tuple[str, Any]]:
    """Yield the body with one forbidden field more, at each place where there is an object."""

    def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        if isinstance(value, dict):
            yield path
            for key, part in value.items():
                yield from places(part, (*path, key))

    for path in places(body):
        for field, value in FORBIDDEN.items():
            changed = copy.deepcopy(body)
            target = changed
            for key in path:
                target = target[key]
            if field not in target:
                target[field] = value
                yield "/".join(map(str, (*path, field))), changed


async def faults(driver: Driver, operation: Operation) -> list[str]:
    """Try everything on one operation; a body that is refused changes nothing, so the good one is taken at last."""
    role = "admin" if operation[2].startswith(PRIVILEGED) else "owner"
    ask = await driver.ask(operation, role)
    if not isinstance(ask.json, dict):
        return []
    person, base, found = await driver.person(role, operation, ask), driver.base(operation), []
    for name, body in mutants(ask.json):
        answer = await driver.send(base, operation[1], msgspec.structs.replace(ask, json=body), person)
        if operation in LENIENT:
            assert_without_effect(answer)
        elif (answer.status_code, answer.json()["code"]) != (422, "invalid_request"):
            found.append(f"{operation} with {name}: {answer.status_code}")
    for shape in OTHER_SHAPES if ask.json else ():
        raw = Ask(path=ask.path, content=shape.encode(), content_type="application/json")
        answer = await driver.send(base, operation[1], raw, person)
        if answer.status_code not in {400, 422}:
            found.append(f"{operation} with {shape!r}: {answer.status_code}")
    answer = await driver.send(base, operation[1], ask, person)
    if answer.status_code in {400, 422}:
        found.append(f"{operation} as it should be: {answer.text}")
    return found


@pytest.mark.parametrize("service", sorted({operation[0] for operation in WITH_BODY}))
async def test_what_is_not_documented_is_refused_in_every_body(service: str, driver: Driver) -> None:
    own = [operation for operation in WITH_BODY if operation[0] == service]
    assert len(own) > 3
    assert [fault for operation in own for fault in await faults(driver, operation)] == []


def assert_without_effect(answer: httpx.Response) -> None:
    assert answer.status_code == 200
    claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    own = {"sub", "username", "iss", "aud", "iat", "exp", "jti", "sid", "email_verified"}
    assert claims.keys() - {"scope"} == own
    assert "users:write leagues:write" not in claims.get("scope", "")


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "/api/v1/users/me"), ("PUT", "/api/v1/users/me"), ("POST", "/api/v1/auth/register")]
)
async def test_nobody_makes_an_admin_or_an_active_user_of_themselves(
    method: str, path: str, driver: Driver, world: World, cast: Cast
) -> None:
    """The row of an account and the admins are the same after all of them at once."""
    state = "SELECT to_jsonb(u) - 'updated_at' AS row FROM users u WHERE id = :id"
    before = await world.rows("auth", state, id=cast.owner.id)
    admins = await world.rows("auth", "SELECT count(*) FROM admins")
    ask = await driver.ask(("auth", method, path))
    answer = await driver.send(
        world.urls["auth"], method, msgspec.structs.replace(ask, json=ask.json | FORBIDDEN), cast.owner
    )
    assert answer.status_code == 422
    assert await world.rows("auth", state, id=cast.owner.id) == before
    assert await world.rows("auth", "SELECT count(*) FROM admins") == admins


async def test_a_form_cannot_say_more_than_json(world: World, cast: Cast) -> None:
    form = {"grant_type": "password", "username": cast.owner.username, "password": "Slipstream-44-ahead"}
    extra = dict.fromkeys(list(FORBIDDEN)[:10], "true")
    answer = await world.http.post(world.urls["auth"] + "/api/v1/auth/login", data=form | extra)
    assert_without_effect(answer)


def test_the_fields_that_the_rules_name_are_tried() -> None:
    named = ["is_admin", "is_active", "is_verified", "is_superuser", "user_id", "points", "budget", "score", "scopes"]
    assert set(named) <= FORBIDDEN.keys()
    assert len(list(mutants({"a": {"b": 1}}))) == 2 * len(FORBIDDEN)
