"""Bodies that may be a form as well as JSON, as OAuth2 has its clients send passwords."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import ClientException, SerializationException
from litestar.openapi.spec import Operation, RequestBody

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
FORM_FIELDS = 16


class FormOrJson(Request[Any, Any, State]):
    """A request whose body may be a form as well as JSON.

    The form is read here because Litestar caches parsed forms by their bytes, and these hold passwords.
    """

    async def json(self) -> Any:  # noqa: ANN401 - as Litestar has it
        """Return the body's fields."""
        kind, _ = self.content_type
        if kind == JSON:
            return await super().json()
        if kind != FORM:
            raise ClientException(status_code=415, detail=f"Send {JSON} or {FORM}.")
        return form_fields(await self.body())


def form_fields(body: bytes) -> dict[str, str | list[str]]:
    """Parse a form; a field that comes twice becomes a list, which no field of ours may be."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FORM_FIELDS, errors="strict")
    except ValueError as error:
        raise SerializationException("the form cannot be read") from error
    fields: dict[str, str | list[str]] = {}
    for name, value in pairs:
        fields[name] = [value] if name in fields else value
    return fields


@dataclass
class FormOrJsonOperation(Operation):
    """Documents that the body may be a form as well as JSON."""

    def __post_init__(self) -> None:
        """Offer the JSON body's schema for the form too."""
        if isinstance(self.request_body, RequestBody):
            self.request_body.content[FORM] = self.request_body.content[JSON]
