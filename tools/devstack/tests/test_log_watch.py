"""A secret in any log line of a run is found and fails the run, without being repeated."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.leaks import IN_LOGS, SECRETS, leaks

PASSWORD = "Slip/stream 44"
PLANTED = {
    "a personal access token": "pdk_" + "aB3" * 12,
    "a token of ours": "pdl_" + "a-_3" * 16,
    "a JSON Web Token": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiI0NCJ9.c2lnbmF0dXJl",
    "a private key": "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIA",
    "a bcrypt hash": "$2b$12$" + "a" * 53,
    "a signing secret of a webhook": "whsec_" + "aB3" * 10,
    "a NATS seed": "SUA" + "B" * 55,
    "a password in a URL": "postgresql://paddock:hunter2@db/paddock",
    "a token of a hosting service": "ghp_" + "aB3" * 12,
    "a credential": "authorization: Bearer AbCdEf0123456789",
    "an e-mail address": "ann+box@mail.example.org",
    "a secret of development": "paddock-development-password-pepper",
}
HARMLESS = """
GET /api/v1/teams/7b0c6a52-30a5-4a0e-9f0b-0d6f5b0f8f11 200 at 127.0.0.1:8001
postgresql://paddock_auth@127.0.0.1:5432/paddock and http://[::1]:8000/x?y=@z
{"event": "request", "token_id": "5", "basic": true, "bearer": null, "at": "@"}
"""


@pytest.mark.parametrize("kind", IN_LOGS)
def test_every_kind_is_found_in_its_line_and_not_repeated(kind: str) -> None:
    found = list(leaks(f"first\nsecond: {PLANTED[kind]} and more\nthird", IN_LOGS))
    assert [(leak.kind, leak.number) for leak in found if leak.kind == kind] == [(kind, 2)]
    assert all(PLANTED[kind] not in leak.line and f"[{leak.kind}]" in leak.line for leak in found)


def test_a_known_secret_is_found_whatever_it_looks_like() -> None:
    text = f'{{"event": "login", "tried": "{PASSWORD}"}}\n/verify/Opaque1Token2/x\nnothing'
    found = list(leaks(text, IN_LOGS, {PASSWORD, "Opaque1Token2", "Not-There-1"}))
    assert sorted(leak.number for leak in found) == [1, 2]
    assert PASSWORD not in found[0].line + found[1].line


def test_what_is_no_secret_is_not_found() -> None:
    assert list(leaks(HARMLESS, IN_LOGS, {"Not-There-1"})) == []


def test_history_is_searched_for_secrets_and_not_for_addresses() -> None:
    assert "an e-mail address" not in SECRETS
    assert SECRETS.items() <= IN_LOGS.items()


SUITE = """
import httpx, logging, structlog

def echo(request):
    return httpx.Response(200, json={"refresh_token": "Opaque1Refresh2Token"})

def test_talks():
    with httpx.Client(transport=httpx.MockTransport(echo)) as client:
        client.post("http://test/", json={"account": {"password": "Slip/stream 44"}})

"""
QUIET = """
def test_keeps_secrets():
    structlog.stdlib.get_logger("x").info("login", password="Slip/stream 44", user="ann@example.org")
"""
LOUD = """
def test_message():
    structlog.stdlib.get_logger("x").info("a message: Slip/stream 44")

def test_library():
    logging.getLogger("lib").warning("a library: %s", "Opaque1Refresh2Token")

def test_process(tmp_path):
    (tmp_path / "auth.log").write_text("a process: ann@example.org")

def test_process_of_before(tmp_path):
    (tmp_path / "auth.log.1").write_text("an old log: ann@example.org")

def test_resets():
    structlog.reset_defaults()
    logging.getLogger().handlers.clear()

def test_says_it_after_a_reset():
    structlog.stdlib.get_logger("y").info("after a reset: Slip/stream 44")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is not searched for the logs of this run."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def run(folder: Path, tests: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a small suite of its own under the plugin."""
    (folder / "test_suite.py").write_text(SUITE + tests)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = ["-m", "pytest", "-q", "-p", "devstack.log_watch", "--basetemp", str(folder / "tmp"), *options]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *command, "test_suite.py"],
        cwd=folder,
        env=environ,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["in one process", "under xdist"])
def test_a_run_whose_tests_pass_fails_for_a_secret_in_a_log_line(options: list[str], folder: Path) -> None:
    ended = run(folder, LOUD, *options)
    assert "7 passed" in ended.stdout
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, ended.stdout
    report = ended.stdout.partition("secrets in log lines")[2]
    for where in ("a message: [", "a library: [", "a process: …[", "an old log: …[", "after a reset: ["):
        assert where in report
    assert "5 in all" in report
    for secret in ("Slip/stream 44", "Opaque1Refresh2Token", "ann@example.org"):
        assert secret not in ended.stdout + ended.stderr


def test_a_run_that_keeps_its_secrets_passes(folder: Path) -> None:
    ended = run(folder, QUIET)
    assert ended.returncode == 0, ended.stdout
    (line,) = [json.loads(line) for line in (folder / "tmp/run.log").read_text().splitlines()]
    assert (line["event"], line["password"], line["user"]) == ("login", "[redacted]", "[redacted]")
