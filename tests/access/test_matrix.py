"""Who may do what: every operation of every service and of the gateway, by everybody, as the table beside this says.

A new operation without a row fails here, and so does a row without an operation. How an operation is asked for is in
`attack.asks`. Whoever is no owner goes first and has no effect: the owner then succeeds with the same object.
"""

from pathlib import Path
from typing import Any

import httpx
import pytest

from attack.asks import ASKS, OWNED
from attack.documented import Documents
from attack.matrix import (
    AT_GATEWAY,
    Driver,
    Operation,
    Row,
    is_public,
    operations,
    ordered,
    read,
    unlisted,
    unserved,
)
from attack.world import World
from gateway.routes import GATEWAY

TABLE = read(Path(__file__).with_name("matrix.csv"))
LONG = 8
"""A text of so many characters is told apart from words that stand in any answer."""


@pytest.fixture(scope="module")
def documents(world: World) -> Documents:
    return Documents(world)


def texts(value: Any) -> set[str]:
    """Every text in an answer that may give something away."""
    if isinstance(value, dict):
        return set[str]().union(*map(texts, value.values()))
    if isinstance(value, list):
        return set[str]().union(*map(texts, value))
    return {value} if isinstance(value, str) and len(value) >= LONG else set()


def leaked(owners: httpx.Response, strangers: httpx.Response, path: str) -> set[str]:
    """Name what a stranger's refusal tells of the object that its owner sees, beyond the ids that were asked for."""
    if not owners.content or "json" not in owners.headers.get("content-type", ""):
        return set()
    return {text for text in texts(owners.json()) if text in strangers.text and text not in path}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: " ".join(row.operation))
async def test_everybody_gets_what_the_table_says(row: Row, driver: Driver, documents: Documents) -> None:
    service, method, path = row.operation
    answers = await driver.drive(row.operation, driver.base(row.operation))
    assert {role: answer.status_code for role, answer in answers.items()} == row.direct
    assert [role for role, answer in answers.items() if "set-cookie" in answer.headers] == [], "bearer tokens only"
    if service != GATEWAY:
        wrong = {role: documents.faults(service, method, path, answer) for role, answer in answers.items()}
        assert {role: faults for role, faults in wrong.items() if faults} == {}, "an answer says what is documented"
    if row.operation in OWNED:
        assert answers["other"].status_code in {403, 404}
        assert leaked(answers["owner"], answers["other"], answers["owner"].request.url.path) == set()
    if service != GATEWAY and is_public(row.operation):
        public = await driver.drive(row.operation, driver.world.urls[GATEWAY], AT_GATEWAY)
        assert {role: answer.status_code for role, answer in public.items()} == {
            role: status for role, status in row.public.items() if role in AT_GATEWAY
        }
        assert [role for role, answer in public.items() if "set-cookie" in answer.headers] == []


def test_every_operation_has_a_row_and_every_row_an_operation(world: World) -> None:
    found = operations(world)
    assert len(found) > 100, "the operations were not found"
    assert unlisted(found, TABLE) == set()
    assert unserved(found, TABLE) == set()
    assert [row.operation for row in TABLE] == ordered(found), "the table is in order, each operation once"
    assert set(ASKS) - found == set()


def test_a_route_without_a_row_and_a_row_without_a_route_are_found(world: World) -> None:
    new: Operation = ("auth", "POST", "/api/v1/users/me/promote")
    found = operations(world)
    assert unlisted(found | {new}, TABLE) == {new}
    assert unserved(found, [*TABLE, Row(new, {}, {})]) == {new}


def test_whatever_is_about_one_object_is_owned_or_told_to_be_for_everybody() -> None:
    """An operation with an id that a stranger gets an answer from is one of these."""
    for_strangers = {
        *(("leagues", "POST", "/api/v1/leagues/{league_id}/join"), ("leagues", "GET", "/api/v1/teams/{team_id}")),
        *(("auth", "GET", "/api/v1/users/{user_id}/avatar"), ("auth", "GET", "/api/v1/users/{username}/profile")),
        ("scoring", "GET", "/api/v1/teams/{team_id}/points"),
    }
    with_id = {row.operation for row in TABLE if "_id}" in row.operation[2] or "{username}" in row.operation[2]}
    open_to_strangers = {row.operation for row in TABLE if row.operation in with_id and row.direct["other"] < 400}
    assert open_to_strangers == for_strangers
    refused = {row.operation for row in TABLE if row.operation in with_id and row.direct["other"] >= 400}
    races = {operation for operation in refused if "{race_id}" in operation[2] or "{asset_id}" in operation[2]}
    assert refused - races - {operation for operation in refused if "/admin/" in operation[2]} == OWNED


def test_nothing_of_admins_is_open_to_anybody_else() -> None:
    admins = [row for row in TABLE if "/admin/" in row.operation[2]]
    assert len(admins) > 20
    for row in admins:
        assert {status for role, status in row.direct.items() if role != "admin"} == {401}, row.operation
        assert row.direct["admin"] < 300, row.operation


async def test_what_is_internal_does_not_exist_at_the_gateway(world: World) -> None:
    internal = [row.operation for row in TABLE if not is_public(row.operation)]
    assert ("auth", "POST", "/internal/tokens/exchange") in internal
    own = {(row.operation[1], row.operation[2]) for row in TABLE if row.operation[0] == GATEWAY}
    for _, method, path in internal:
        if (method, path) not in own:
            answer = await world.http.request(method, world.urls[GATEWAY] + path.replace("{path}", "nothing"))
            assert answer.status_code == 404, path


def test_an_answer_with_an_undocumented_field_is_found(world: World, documents: Documents) -> None:
    assert world.apps
    good = {"items": [], "total": 0, "skip": 0, "limit": 50}
    path = "/api/v1/constructors"
    kind = {"content-type": "application/json"}
    fine = documents.faults("ingest", "GET", path, httpx.Response(200, json=good | {"season": None}, headers=kind))
    spoilt = httpx.Response(200, json=good | {"season": None, "password_hash": "x"}, headers=kind)
    assert any("password_hash" in fault for fault in documents.faults("ingest", "GET", path, spoilt)), fine
    assert documents.faults("ingest", "GET", path, httpx.Response(418)) == ["418 is not documented"]
