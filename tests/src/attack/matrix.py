"""The table of who may do what, and how a row of it is driven.

A cell is a status, or two as ``200/401``: of the service asked directly, and of the gateway. The gateway looks at a
token wherever one is shown, a service only where it wants one.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute

from attack.asks import ASKS, DISPOSABLE, EACH, SAMPLE, Ask, Scene
from attack.cast import ROLES, Cast
from attack.people import People, Person
from attack.world import World
from common import migrate
from common.security import scope_of
from gateway.routes import GATEWAY, TABLE

AT_GATEWAY = ("anonymous", "deactivated", "admin", "owner")
"""Whom the gateway itself tells apart; of the others the services judge, and the gateway passes on what they say."""
FIRST = ("service", "method", "path")
ORDER = ("anonymous", "deactivated", "scopeless", "other", "unverified", "owner")
"""The owner comes last: that they succeed shows that nobody before them had any effect on what is theirs."""
PRIVILEGED = "/api/v1/admin/"

Operation = tuple[str, str, str]


class Row(msgspec.Struct, frozen=True):
    """Expected statuses of one operation, by role: at the service and at the gateway."""

    operation: Operation
    direct: dict[str, int]
    public: dict[str, int]


def read(file: Path) -> list[Row]:
    """Read the table."""
    with file.open(encoding="utf-8", newline="") as lines:
        return [_row(line) for line in csv.DictReader(lines)]


def _row(line: dict[str, str]) -> Row:
    operation = (line["service"], line["method"], line["path"])
    cells = {role: line[role].split("/") for role in ROLES}
    return Row(
        operation,
        {role: int(cell[0]) for role, cell in cells.items()},
        {role: int(cell[-1]) for role, cell in cells.items()},
    )


def template(path: str) -> str:
    """Write a route's path as documents and the gateway's table do."""
    return "/".join(f"{{{part[1:].split(':')[0]}}}" if part.startswith("{") else part for part in path.split("/"))


def handlers(app: Litestar) -> Iterator[tuple[str, str, Any]]:
    """Yield method, path and handler of every route of an app."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if method != "OPTIONS":
                    yield method, template(route.path.rstrip("/") or "/"), handler


def operations(world: World) -> set[Operation]:
    """Everything that can be called anywhere."""
    found = {(service, method, path) for service, app in world.apps.items() for method, path, _ in handlers(app)}
    return found | {(route.service, route.method, route.template) for route in TABLE}


def unlisted(found: Iterable[Operation], rows: Iterable[Row]) -> set[Operation]:
    """Name the operations without a row."""
    return set(found) - {row.operation for row in rows}


def unserved(found: Iterable[Operation], rows: Iterable[Row]) -> set[Operation]:
    """Name the rows without an operation."""
    return {row.operation for row in rows} - set(found)


def is_public(operation: Operation) -> bool:
    """Tell whether the gateway has it."""
    return operation in {(route.service, route.method, route.template) for route in TABLE}


class Driver:
    """Asks as everybody."""

    def __init__(self, world: World, people: People, cast: Cast) -> None:
        self.world = world
        self.scene = Scene(world, people, cast)

    async def ask(self, operation: Operation, role: str = "owner") -> Ask:
        """Make the request of an operation."""
        if maker := ASKS.get(operation):
            return await maker(msgspec.structs.replace(self.scene, role=role))
        parts = [SAMPLE[part[1:-1]] if part.startswith("{") else part for part in operation[2].split("/")]
        return Ask(path="/".join(parts))

    async def drive(self, operation: Operation, base: str, roles: Iterable[str] = ROLES) -> dict[str, httpx.Response]:
        """Ask for one operation as each role, of a service or of the gateway, and return the answers by role.

        What is about an object is about the same one, whoever asks; the one who may comes last.
        """
        privileged = operation[2].startswith(PRIVILEGED)
        shared = None if operation in EACH else await self.ask(operation)
        answers = {}
        for role in sorted(roles, key=[*ORDER, "admin"].index if privileged else ["admin", *ORDER].index):
            ask = shared or await self.ask(operation, role)
            answers[role] = await self.send(base, operation[1], ask, await self.person(role, operation, ask))
        return answers

    async def person(self, role: str, operation: Operation, ask: Ask) -> Person | None:
        """Say who asks; somebody new where asking ends who they are."""
        cast, people = self.scene.cast, self.scene.people
        if role == "anonymous":
            return None
        if role == "scopeless":
            return await people.limited(ask.owner or cast.owner, without=self._scope(operation))
        if role == "owner" and ask.owner:
            return ask.owner
        if operation in DISPOSABLE and role != "deactivated":
            return await (people.new_admin() if role == "admin" else people.user(verified=role != "unverified"))
        person: Person = getattr(cast, role)
        return person

    def _scope(self, operation: Operation) -> str:
        service, method, path = operation
        if service == GATEWAY:
            return next((route.scope or "" for route in TABLE if (route.method, route.template) == (method, path)), "")
        handler = next(
            one for verb, known, one in handlers(self.world.apps[service]) if (verb, known) == (method, path)
        )
        return scope_of(service, method, handler.opt)

    async def send(self, base: str, method: str, ask: Ask, person: Person | None, **changes: Any) -> httpx.Response:
        """Send a request; of an answer without end, only what comes first is read."""
        headers = dict(person.headers) if person else {}
        options: dict[str, Any] = {}
        if ask.json is not msgspec.UNSET:
            options["json"] = changes.get("json", ask.json)
        if ask.content is not None:
            options["content"] = ask.content
            headers["Content-Type"] = ask.content_type or "application/octet-stream"
        url = f"{base}{ask.path}" + (f"?{urlencode(ask.query)}" if ask.query else "")
        headers["X-Request-Id"] = uuid4().hex
        async with self.world.http.stream(method, url, headers=headers, **options) as response:
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                return httpx.Response(response.status_code, headers=response.headers)
            await response.aread()
            return response

    def base(self, operation: Operation) -> str:
        """Where an operation is served."""
        return self.world.urls[operation[0]]


def ordered(found: Iterable[Operation]) -> list[Operation]:
    """Sort as the table is: by service, path and method."""
    services = (*migrate.SERVICES, GATEWAY)
    return sorted(found, key=lambda one: (services.index(one[0]), one[2], one[1]))
