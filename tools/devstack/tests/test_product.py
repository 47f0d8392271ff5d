"""`make run` as a newcomer meets it: the whole product, twice, on one state directory."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devstack import procfs
from devstack.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

WARM_SECONDS = 30.0
"""Twice what is promised, for a machine that runs other tests beside this one."""
TEAMS = 7


class Run:
    """One `devstack run` and what it has printed."""

    def __init__(self, state: Path, port: int) -> None:
        names = ("DATABASE_URL", "NATS_URL", "REDIS_URL", "SOURCE", "SEED", "ROUNDS", "RECORDED", "SEASON")
        env = {key: value for key, value in os.environ.items() if key not in names}
        env |= {"PADDOCK_STATE": str(state), "PORT": str(port), "PACE": "12", "TEAMS": str(TEAMS)}
        self.state, self.port = state, port
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "devstack", "run"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def until(self, words: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return line
        pytest.fail(f"it never said {words!r}: {''.join(self.lines)}")

    def end(self) -> str:
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=30)
        return "".join(self.lines) + output


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Run]]:
    """Run on one state directory and port; the children of a run that is killed die with it."""
    port, runs = free_port(), list[Run]()

    def begin() -> Run:
        runs.append(Run(tmp_path / "state", port))
        return runs[-1]

    yield begin
    for run in runs:
        run.process.kill()
        run.process.communicate()


def ask(port: int, method: str, path: str, body: object = None, token: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def login(port: int) -> str:
    credentials = {"username": "demo", "password": "Lights-Out-24"}
    status, body = ask(port, "POST", "/api/v1/auth/login", credentials)
    assert status == 200, body
    return str(json.loads(body)["access_token"])


def members(port: int) -> int:
    status, body = ask(port, "GET", "/api/v1/leagues?mine=true", token=login(port))
    assert status == 200, body
    (league,) = json.loads(body)["items"]
    assert (league["name"], league["private"]) == ("Paddock Open", False)
    return int(league["members"])


def test_one_command_shows_a_weekend_and_a_second_one_goes_on_with_it(start: Callable[[], Run]) -> None:
    first = start()
    port, state = first.port, first.state
    first.until(f"http://127.0.0.1:{port}/docs")
    assert ask(port, "GET", "/docs")[0] == 200
    first.until("SIMULATED")
    first.until(f"{TEAMS} demo teams have entered; 3 players are in Paddock Open")
    first.until("line-ups locked")
    first.until("qualifying done")
    first.until(f"scored, {TEAMS} teams")
    first.until("new leader overall")
    family = [pid for pid, _ in json.loads((state / "pids.json").read_text()).values()]
    said = first.end()
    assert first.process.returncode == 0
    assert not [pid for pid in family if procfs.alive(pid)]
    assert "died" not in said

    second = start()
    second.until("Paddock is up")
    took = time.monotonic() - second.began
    assert members(port) == 3
    said = second.end()
    assert second.process.returncode == 0
    assert "have entered" not in said
    assert took < WARM_SECONDS
