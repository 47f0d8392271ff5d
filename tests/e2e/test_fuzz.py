"""schemathesis over every service's OpenAPI: no 5xx, no undocumented status, no answer that differs from its schema."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from common import migrate
from devstack.stack import Stack

pytestmark = pytest.mark.e2e

EXAMPLES = 30
SERVICES = migrate.SERVICES
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)


@pytest.fixture(scope="module")
async def token(
    stacks: Callable[..., Stack],
    player_at: Callable[[Stack, str], Any],
    make_lineups: Callable[[Any, int], list[dict[str, list[str]]]],
) -> tuple[Stack, str]:
    """A stack in which something exists: a scored round, a league, a team, a line-up."""
    stack = stacks(pace=6, seed=3, rounds="1-3", start=datetime.now(UTC) + timedelta(seconds=6))
    player = await player_at(stack, "fuzzed").enter()
    team = await player.team("Fuzz Racing")
    await player.submit(team, make_lineups(await player.market(), 1)[0])
    await player.call("POST", "/leagues", 201, json={"name": "Fuzz League"})
    await player.scored(1, seconds=40)
    return stack, player.tokens["access_token"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_answers_as_it_says(service: str, token: tuple[Stack, str], tmp_path: Path) -> None:
    stack, access_token = token
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{stack.urls[service]}/schema/openapi.json",
            "--header",
            f"Authorization:Bearer {access_token}",
            "--checks",
            ",".join(CHECKS),
            "--max-examples",
            str(EXAMPLES),
            "--seed",
            "1",
            "--request-timeout",
            "15",
            "--suppress-health-check",
            "all",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
