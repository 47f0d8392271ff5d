"""Holds answers to the OpenAPI document of their service: a status that is there, and no field that is not."""

import json
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from attack.world import World

Json = dict[str, Any]


def closed(schema: Any) -> Any:
    """Return a schema that allows no other fields than it names, at any depth."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(part) for key, part in schema.items()}
    if isinstance(found.get("properties"), dict) and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


class Documents:
    """The documents of all services."""

    def __init__(self, world: World) -> None:
        self._documents = {
            service: json.loads(json.dumps(app.openapi_schema.to_schema(), default=str))
            for service, app in world.apps.items()
        }
        self._schemas = {name: closed(one.get("components", {})) for name, one in self._documents.items()}

    def operation(self, service: str, method: str, path: str) -> Json | None:
        """Return what is written about an operation; nothing for one of those that clients do not get to see."""
        found: Json | None = self._documents[service]["paths"].get(path, {}).get(method.lower())
        return found

    def faults(self, service: str, method: str, path: str, response: httpx.Response) -> list[str]:
        """Say in what an answer is not as it is written."""
        operation = self.operation(service, method, path)
        if operation is None:
            return []
        written = operation["responses"].get(str(response.status_code))
        if written is None:
            return [f"{response.status_code} is not documented"]
        kind = response.headers.get("content-type", "").partition(";")[0]
        if not response.content or "json" not in kind:
            return []
        content = written.get("content", {}).get(kind)
        if content is None:
            return [f"{response.status_code} as {kind} is not documented"]
        return self._told(service, closed(content["schema"]), response.json())

    def _told(self, service: str, schema: Json, body: Any) -> list[str]:
        whole = {**schema, "components": self._schemas[service]}
        return [f"{error.json_path}: {error.message[:200]}" for error in Draft202012Validator(whole).iter_errors(body)]
