"""Settings: the environment, read once into a frozen struct.

A field that ``Settings`` declares is read from the variable of its own name in capitals (``DATABASE_URL``). A field
that a service adds is read with the service's prefix (``INGEST_POLL_SECONDS``). ``NAME_FILE`` names a file that holds
the value, as Docker and Kubernetes mount secrets. Nothing else in the product reads the environment.
"""

import os
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args, get_type_hints

import msgspec

SECRET = {"secret": True}
"""Mark of a field that is never printed and must not keep its default in production."""
_URL_PASSWORD = re.compile(r"://[^@/:]*:([^@/]+)@")


class SettingsError(Exception):
    """A variable is missing, malformed or unsafe; the message names it and says what to do."""


class Environment(StrEnum):
    """Where the process runs."""

    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


class LogFormat(StrEnum):
    """How log lines look; ``auto`` is ``text`` in a terminal and ``json`` elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


def described(text: str, **extra: Any) -> msgspec.Meta:  # noqa: ANN401 - msgspec takes any mark
    """Describe a setting for `.env.example`."""
    return msgspec.Meta(description=text, extra=extra or None)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every deployable is told by its environment."""

    prefix: ClassVar[str] = ""
    """What the variables of a subclass's own fields start with, for example ``INGEST_``."""

    paddock_env: Annotated[Environment, described("development, test or production")] = Environment.DEVELOPMENT
    host: Annotated[str, described("Address to listen on")] = "127.0.0.1"
    port: Annotated[int, described("Port to listen on")] = 8000
    log_level: Annotated[str, described("DEBUG, INFO, WARNING or ERROR")] = "INFO"
    log_format: Annotated[LogFormat, described("auto, json or text")] = LogFormat.AUTO
    database_url: Annotated[str, described("postgresql:// URL with the service's own role", **SECRET)] = (
        "postgresql://paddock:paddock@127.0.0.1:5432/paddock"
    )
    database_pool_size: Annotated[int, described("Connections a process keeps to PostgreSQL")] = 10
    nats_url: Annotated[str, described("nats:// URL of a server with JetStream")] = "nats://127.0.0.1:4222"
    nats_creds: Annotated[
        str | None, described("Text of the NATS credentials file of this deployable; NATS_CREDS_FILE names the file")
    ] = None
    redis_url: Annotated[str, described("redis:// URL")] = "redis://127.0.0.1:6379/0"
    auth_url: Annotated[str, described("Base URL of auth, whose JWKS every service verifies tokens with")] = (
        "http://127.0.0.1:8001"
    )
    token_issuer: Annotated[str, described("`iss` of access tokens")] = "paddock"  # noqa: S105 - a name
    token_audience: Annotated[str, described("`aud` of access tokens")] = "paddock-api"  # noqa: S105 - a name
    token_admin_audience: Annotated[str, described("`aud` of the access tokens of admins")] = "paddock-admin"  # noqa: S105 - a name
    otel_exporter_otlp_endpoint: Annotated[
        str | None, described("OTLP/HTTP collector that gets the traces; empty keeps them in the process")
    ] = None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the environment; raise `SettingsError` naming the variable that is wrong."""
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for field, variable, kind in cls.variables():
            raw = _read(source, variable)
            if raw is None:
                if field.required:
                    raise SettingsError(f"{variable} is not set")
                continue
            try:
                values[field.name] = msgspec.convert(raw, kind, strict=False)
            except msgspec.ValidationError as error:
                raise SettingsError(f"{variable} is not usable: {error}") from error
        settings = cls(**values)
        settings.refuse_defaults()
        return settings

    @classmethod
    def variables(cls) -> Iterator[tuple[msgspec.structs.FieldInfo, str, Any]]:
        """Yield each field with its variable's name and its annotated type."""
        own = set(Settings.__struct_fields__)
        hints = get_type_hints(cls, include_extras=True)
        for field in msgspec.structs.fields(cls):
            prefix = "" if field.name in own else cls.prefix
            yield field, f"{prefix}{field.name}".upper(), hints[field.name]

    def refuse_defaults(self) -> None:
        """In production, raise `SettingsError` for a secret that still has the value from the source code."""
        if self.paddock_env is not Environment.PRODUCTION:
            return
        for field, variable, kind in self.variables():
            if is_secret(kind) and field.default and _secret_in(getattr(self, field.name)) == _secret_in(field.default):
                raise SettingsError(f"{variable} has its default value; set a secret of your own in production")


def _secret_in(value: str) -> str:
    """Return the password of a URL that has one, else the whole value."""
    password = _URL_PASSWORD.search(value)
    return password[1] if password else value


def is_secret(kind: Any) -> bool:  # noqa: ANN401 - a type of any form
    """Tell whether an annotated type carries the secret mark."""
    return any(isinstance(mark, msgspec.Meta) and (mark.extra or {}).get("secret") for mark in get_args(kind)[1:])


def _read(source: Mapping[str, str], variable: str) -> str | None:
    """Return the variable, or what the file of ``VARIABLE_FILE`` holds; an empty variable counts as not set."""
    if path := source.get(f"{variable}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{variable}_FILE cannot be read: {error.strerror}") from error
    return source.get(variable) or None
