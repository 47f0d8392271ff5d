"""The README's tour, typed as written: each block in one shell, waiting where the text says to wait."""

import asyncio
import contextlib
import json
import re
import sqlite3
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from devstack.stack import Stack

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PACE_SECONDS = 30
END = "--- end of block"
REGISTER, LEAGUE, LINEUPS, LATE, RESULT, SUBSCRIBE = range(6)
SUBSCRIBED_SECONDS = 15


class Shell:
    """A bash that lives through the whole tour."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def open(cls, folder: Path) -> "Shell":
        """Start it where the tour may leave files."""
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec("bash", cwd=folder, stdin=pipe, stdout=pipe, limit=2**20))

    async def type(self, block: str) -> str:
        """Type a block and return what it printed."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{block}\necho; echo '{END}'\n".encode())
        await stdin.drain()
        return (await stdout.readuntil(f"{END}\n".encode())).decode().removesuffix(f"{END}\n")

    async def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.wait()


def objects(text: str) -> list[Any]:
    """Find the JSON objects in what curl printed, one after the other."""
    found, position, decoder = [], 0, json.JSONDecoder()
    while (start := text.find("{", position)) >= 0:
        value, position = decoder.raw_decode(text, start)
        found.append(value)
    return found


async def test_the_tour_of_the_readme_works_as_written(
    stacks: Callable[..., Stack], player_at: Callable[[Stack, str], Any], tmp_path: Path
) -> None:
    stack = stacks(pace=PACE_SECONDS, seed=24, rounds="1-2", start=datetime.now(UTC) + timedelta(seconds=10))
    tour = README.read_text(encoding="utf-8").replace("http://127.0.0.1:8000", stack.gateway_url)
    tour = tour.replace("nats://127.0.0.1:4222", stack.nats_url).replace("examples/python", f"{ROOT}/examples/python")
    tour = tour.replace(".paddock/nats-auth", f"{stack.state.path}/nats-auth")
    tour = tour.replace(".venv/bin/python ", f"timeout {SUBSCRIBED_SECONDS} {sys.executable} ")
    tour = tour.replace(
        ".venv/bin/paddock ", f"PADDOCK_NATS_DIR={stack.state.path}/nats-auth {sys.executable} -m paddock "
    )
    blocks = re.findall(r"```bash\n(.*?)```", tour, re.DOTALL)
    assert len(blocks) == SUBSCRIBE + 1
    visitor = player_at(stack, "visitor")
    await visitor.enter()
    await visitor.market()
    shell = await Shell.open(tmp_path)
    try:
        accounts = objects(await shell.type(blocks[REGISTER]))
        assert [account["username"] for account in accounts] == ["late_braker", "tyre_saver"]
        assert objects(await shell.type(blocks[LEAGUE]))[-1]["members"] == 2
        market, upcoming, mine, yours = objects(await shell.type(blocks[LINEUPS]))
        assert len(market["drivers"]) == 22
        assert mine["effective_round"] == yours["effective_round"] == upcoming["round"]

        lock_at = datetime.fromisoformat(upcoming["lock_at"])
        await asyncio.sleep(max(0.0, (lock_at - datetime.now(UTC)).total_seconds()) + 0.2)
        (refusal,) = objects(await shell.type(blocks[LATE]))
        assert (refusal["status"], refusal["code"]) == (409, "round_locked")

        await visitor.scored(upcoming["round"], seconds=PACE_SECONDS + 20)
        answers = await shell.type(blocks[RESULT].replace("curl -sN", "timeout 2 curl -sN"))
        board, points, why = objects(answers)[:3]
        assert [row["team_name"] for row in board["items"]]
        assert points["total"] == sum(asset["points"] for asset in points["rounds"][0]["assets"])
        assert why["total"] == sum(row["points"] for row in why["rows"])

        assert "durable: my-bot" in await shell.type(blocks[SUBSCRIBE])
        with contextlib.closing(sqlite3.connect(tmp_path / "subscriber.sqlite")) as store:
            done = [kind for (kind,) in store.execute("SELECT type FROM journal ORDER BY rowid")]
            winners = dict(store.execute("SELECT race_id, driver_id FROM wins").fetchall())
        assert {"paddock.results.synced.v1", "paddock.race.finished.v1", "paddock.race.scored.v1"} <= set(done)
        assert winners
    finally:
        await shell.close()
