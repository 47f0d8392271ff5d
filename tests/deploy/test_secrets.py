"""Nothing starts in production with a secret from the source code or a short one, and none is in the repository."""

import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from common import migrate
from common.settings import Settings, SettingsError, is_secret
from common.tokens import is_token
from devstack.leaks import SECRETS, leaks
from paddock.broker import OperatorSettings
from paddock.documents import settings_class

ROOT = Path(__file__).parents[2]
DEPLOYABLES = (*migrate.SERVICES, "gateway")
CLASSES = {name: settings_class(name) for name in DEPLOYABLES} | {"paddock": OperatorSettings}
SECRET_NAME = re.compile(r"(?:^|_)(?:secret|password|pepper|private_key|secret_key|secret_access_key|api_key)$")
LENGTH = 32
OF_THE_SERVERS = {"DATABASE_URL"}
"""Held to be another than the default's, not to a length: the administrator of the database chooses it."""
OF_PRODUCTION = {
    "PADDOCK_ENV": "production",
    "DATABASE_URL": "postgresql://somebody:own@db/paddock",
    "AUTH_OBJECT_STORE_URL": "file:///objects",
    "AUTH_LINK_URL": "https://play.example",
}
"""What else production wants to be told."""
SAMPLES = {"hunter2-and-more", "{name}-secret", "${POSTGRES_PASSWORD", "{password}"}
"""What stands for a password in URLs of documents and tests."""
SHORTEST = 8
"""Anything shorter in a URL is a sample: passwords that we make have 49 characters."""
MADE_UP = {
    "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiI0NCJ9",
    "eyJzdWIiOiI0NSJ9.c2lnbmF0dXJl",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIA",
}
"""Samples in tests of what finds secrets."""


def secrets(kind: type[Settings]) -> Iterator[tuple[str, Any, Any]]:
    """Yield variable, default and type of each secret that production must be given."""
    for field, variable, annotation in kind.variables():
        if is_secret(annotation) and field.default is not None:
            yield variable, field.default, annotation


def production(kind: type[Settings]) -> dict[str, str]:
    """An environment with everything that production wants."""
    environ = {variable: f"{variable}-{'x' * LENGTH}" for variable, _, _ in secrets(kind)}
    return environ | OF_PRODUCTION


CASES = [
    (name, variable)
    for name, kind in CLASSES.items()
    if name not in {"gateway", "paddock"}
    for variable, _, _ in secrets(kind)
]
"""The gateway has no secret, and the operator's command opens the database as whoever it is told to be."""


@pytest.mark.parametrize("name", CLASSES)
def test_production_starts_with_secrets_of_its_own(name: str) -> None:
    assert CLASSES[name].load(production(CLASSES[name])).paddock_env == "production"


@pytest.mark.parametrize(("name", "variable"), CASES)
@pytest.mark.parametrize("given", ["nothing", "the default"])
def test_a_default_secret_ends_the_start_with_its_name_and_without_its_value(
    name: str, variable: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = next(default for known, default, _ in secrets(CLASSES[name]) if known == variable)
    for key, value in production(CLASSES[name]).items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv(f"{variable}_FILE", raising=False)
    monkeypatch.setenv(variable, "" if given == "nothing" else default)
    main = importlib.import_module(f"{name}.__main__").main
    with pytest.raises((SystemExit, SettingsError)) as stopped:
        main()
    words = str(stopped.value.args[0] if stopped.value.args else stopped.value)
    assert words.startswith(f"{variable} has its default value")
    assert default not in words


@pytest.mark.parametrize(("name", "variable"), [case for case in CASES if case[1] not in OF_THE_SERVERS])
def test_a_short_secret_ends_the_start_even_in_development(name: str, variable: str) -> None:
    short = "Abcdefgh" * (LENGTH // 8 - 1) + "1234567"
    with pytest.raises(SettingsError, match=variable) as refused:
        CLASSES[name].load({variable: short})
    assert short not in str(refused.value)
    CLASSES[name].load({variable: short + "8"})


@pytest.mark.parametrize("name", [name for name in DEPLOYABLES if name != "gateway"])
def test_the_default_password_is_refused_for_any_database(name: str) -> None:
    kind = CLASSES[name]
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        kind.load(production(kind) | {"DATABASE_URL": f"postgresql://paddock_{name}:paddock@db.internal/paddock"})


def unmarked(kind: type[Settings]) -> list[str]:
    """Name the settings that sound like a secret and are not treated as one."""
    return [
        variable
        for field, variable, annotation in kind.variables()
        if SECRET_NAME.search(field.name) and not is_secret(annotation)
    ]


@pytest.mark.parametrize("name", CLASSES)
def test_every_setting_that_is_a_secret_is_marked_as_one(name: str) -> None:
    assert unmarked(CLASSES[name]) == []


def test_an_unmarked_secret_is_found() -> None:
    class Careless(Settings, frozen=True, kw_only=True):
        prefix = "X_"
        smtp_password: str = ""

    assert unmarked(Careless) == ["X_SMTP_PASSWORD"]


def test_every_secret_with_a_default_has_a_least_length() -> None:
    for kind in CLASSES.values():
        for variable, default, annotation in secrets(kind):
            if variable not in OF_THE_SERVERS:
                least = [mark.min_length or 0 for mark in get_args(annotation) if isinstance(mark, msgspec.Meta)]
                assert max(least) >= LENGTH, variable
                assert len(default) >= LENGTH, variable


def history() -> str:
    """Everything that was ever committed, as patches."""
    command = ["git", "log", "-p", "--all", "--no-color", "--no-ext-diff", "--unified=0", "--format=commit %h"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=120)  # noqa: S603 - a constant
    if done.returncode:
        pytest.skip("this is no clone with a history")
    return done.stdout.decode("utf-8", errors="replace")


def committed(text: str) -> list[str]:
    """Name the secrets in a text of the repository: whatever has a shape of one and is no sample."""
    found = []
    for kind, shape in SECRETS.items():
        for match in shape.finditer(text):
            password = match[0].partition("://")[2].rpartition("@")[0].partition(":")[2]
            if kind == "a personal access token" and not is_token(match[0]):
                continue  # made up: no token of ours has such a checksum
            if 0 < len(password) < SHORTEST or password in SAMPLES or match[0] in MADE_UP:
                continue
            found.append(next(leaks(match[0], {kind: shape})).kind)
    return found


def test_nothing_that_was_ever_committed_is_a_secret() -> None:
    text = history()
    assert "\ncommit " in text
    assert committed(text) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("a personal access token", "pdk_" + "0" * 30 + "2C8GjS"),
        ("a NATS seed", "+SUA" + "B" * 55),
        ("a private key", "+-----BEGIN " + "PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA=="),
        ("a password in a URL", "+DATABASE_URL=postgresql://paddock:" + "Rather-Secret-1@db/paddock"),
        ("a JSON Web Token", "+eyJ" + "hbGciOiJFZERTQSJ9.eyJzdWIiOiI0NSJ9.c2lnbmF0dXJl"),
        ("a bcrypt hash", "+$2b$12$" + "a" * 53),
        ("a signing secret of a webhook", "+whsec_" + "aB3" * 10),
        ("a token of a hosting service", "+ghp_" + "aB3" * 12),
    ],
)
def test_a_committed_secret_is_found(kind: str, text: str) -> None:
    assert committed(f"commit 1\n{text}\n") == [kind]


def test_samples_of_documents_are_no_secrets() -> None:
    assert committed("+postgresql://paddock:paddock@127.0.0.1:5432/paddock\n+pdk_" + "aB3" * 12) == []
