"""No secret leaves in a log line, whatever way it came in."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import structlog

from common.log import MASK, get_logger, mask, setup_logging
from common.settings import LogFormat, Settings

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiI0NCJ9.c2lnbmF0dXJlLW9mLXNvbWVib2R5"
PAT = "pdk_" + "aB3" * 12
BCRYPT = "$2b$12$" + "abcdefghijklmnopqrstu." + "v" * 31
SEED = "SUA" + "B" * 55
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----"
URL = "postgresql://paddock_auth:hunter2-and-more@db:5432/paddock"
SECRETS = {
    JWT: JWT,
    PAT: PAT,
    "pdl_" + "a-_3" * 16: "a-_3" * 16,
    BCRYPT: BCRYPT,
    SEED: SEED,
    PEM: "MC4CAQAwBQYDK2VwBCIEIA",
    URL: "hunter2-and-more",
    "redis://:hunter2-and-more@cache:6379/0": "hunter2-and-more",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "Authorization: Bearer AbCdEf0123456789": "AbCdEf0123456789",
    "authorization: basic dXNlcjpwYXNzd29yZA==": "dXNlcjpwYXNzd29yZA==",
    "Key (email)=(ann.example+f1@mail.example.org) already exists.": "ann.example+f1@mail.example.org",
}
"""What may come into a log, and the part of it that may not come out."""
HARMLESS = (
    "GET /api/v1/teams/7b0c6a52-30a5-4a0e-9f0b-0d6f5b0f8f11",
    "postgresql://paddock_auth@db:5432/paddock",
    "http://127.0.0.1:8001/.well-known/jwks.json",
    "a basic rule, and a bearer of bad news",
    "cost $2 more @ Monza",
    "dead letter results.synced.v1 of scoring_rounds",
)


@pytest.fixture
def out(request: pytest.FixtureRequest) -> Iterator[StringIO]:
    """What a process with production's logging writes; the test's own logging is put back."""
    form = getattr(request, "param", LogFormat.JSON)
    root, written = logging.getLogger(), StringIO()
    before, level, config = root.handlers, root.level, structlog.get_config()
    stdout, sys.stdout = sys.stdout, written
    setup_logging("test", Settings(log_format=form))
    sys.stdout = stdout
    yield written
    root.handlers = before
    root.setLevel(level)
    structlog.configure(**config)


def fail(text: str) -> None:
    raise ValueError(text)


both = pytest.mark.parametrize("out", [LogFormat.JSON, LogFormat.TEXT], indirect=True)


@both
@pytest.mark.parametrize("text", SECRETS)
def test_what_looks_like_a_secret_is_masked_wherever_it_stands(out: StringIO, text: str) -> None:
    log = get_logger("test.masked")
    message = f"met {text}"
    log.warning(message, error=text, nested={"deep": [text, {"deeper": text}]})
    logging.getLogger("third_party").warning("met %s", text)
    try:
        fail(text)
    except ValueError as error:
        log.exception("failed")
        log.warning("failed", exc_info=error, error=repr(error))
        logging.getLogger("third_party").exception("failed")
    written = out.getvalue()
    assert SECRETS[text] not in written
    assert written.count(MASK) >= 7


@both
def test_tracebacks_tell_no_values_of_variables(out: StringIO) -> None:
    def check(password: str) -> None:
        raise RuntimeError("cannot hash" if password else "nothing to hash")

    try:
        check("correct horse 44")
    except RuntimeError:
        get_logger("test.traceback").exception("failed")
    written = out.getvalue()
    assert "cannot hash" in written
    assert "correct horse" not in written.replace('check("correct horse 44")', "")


def test_a_field_with_a_telling_name_is_masked_at_any_depth(out: StringIO) -> None:
    fields: dict[str, Any] = {
        "new_password": "a",
        "Cookie": "b",
        "body": {"refresh_token": "c", "list": [{"email": "d"}]},
    }
    get_logger("test.keys").info("request", **fields, path="/kept")
    line = json.loads(out.getvalue())
    assert (line["new_password"], line["Cookie"], line["path"]) == (MASK, MASK, "/kept")
    assert line["body"] == {"refresh_token": MASK, "list": [{"email": MASK}]}


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert mask(None, "", text) == text


def test_masked_lines_are_still_json(out: StringIO) -> None:
    for text in SECRETS:
        get_logger("test.json").info("met", what=f'"{text}"', more={"quoted": f"'{text}'"})
    assert len([json.loads(line) for line in out.getvalue().splitlines()]) == len(SECRETS)


def test_masking_costs_microseconds_even_for_a_line_made_to_be_slow() -> None:
    """Generous, for a busy machine, and far below the seconds that one pattern without bounds takes."""
    nasty = [
        "a" * 80_000 + "@",
        "a." * 40_000 + "@",
        "://" * 25_000,
        "eyJ" * 25_000,
        "@" * 80_000,
        "x@" + "a-" * 40_000,
    ]
    nasty += ["-----BEGIN PRIVATE KEY-----" * 3_000, "x@" + "a." * 40_000 + "@", "pdk_" * 20_000, "Bearer " * 10_000]
    for line in nasty:
        started = time.process_time()
        mask(None, "", line)
        assert time.process_time() - started < 1, line[:40]
