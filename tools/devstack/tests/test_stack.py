"""A stack as the end-to-end tests use it, with stand-ins for the services."""

import http.client
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from common import migrate
from devstack import procfs
from devstack.errors import DevstackError
from devstack.plan import Addresses, Plan
from devstack.program import Child
from devstack.season import Season
from devstack.stack import Stack

Until = Callable[[Callable[[], bool], str], None]
NO_SERVERS = {"DATABASE_URL": "postgresql://nowhere/x", "NATS_URL": "nats://nowhere", "REDIS_URL": "redis://nowhere"}


def standins(addresses: Addresses, _: Season, env: object) -> Plan:
    del env
    script = str(Path(__file__).with_name("standin.py"))

    def child(name: str) -> Child:
        argv = (sys.executable, script, name, str(addresses.ports[name]), "/nonexistent")
        return Child(name=name, argv=argv, url=addresses.url(name), env={})

    return Plan(early=(), prepare=None, tiers=((child("auth"),), (child("gateway"),)))


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def stack(tmp_path: Path, lines: list[str]) -> Iterator[Stack]:
    with Stack(tmp_path, environ=NO_SERVERS, report=lines.append, preload=False, planner=standins) as running:
        yield running


def answers(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def test_a_dead_child_is_one_line_and_comes_back(stack: Stack, lines: list[str], until: Until) -> None:
    connection = http.client.HTTPConnection(stack.urls["auth"].removeprefix("http://"))
    connection.request("GET", "/die")
    with pytest.raises((OSError, http.client.HTTPException)):
        connection.getresponse()
    connection.close()
    log = stack.state.logs / "auth.log"
    until(lambda: bool(lines), "the obituary")
    assert lines == [f"auth died (exit code 3): gearbox failed: no oil; log {log}; starting it again in 1 s"]
    until(lambda: answers(stack.urls["auth"]), "the resurrection")


def test_a_killed_child_stays_dead_until_it_is_started_again(stack: Stack, lines: list[str]) -> None:
    before = stack.programs["auth"].pid
    stack.kill("auth")
    assert not answers(stack.urls["auth"])
    assert json.loads((stack.state.path / "pids.json").read_text()).keys() == {"gateway"}
    stack.start_again("auth")
    assert answers(stack.urls["auth"])
    assert stack.programs["auth"].pid != before
    assert lines == []


def test_an_unknown_name_is_refused_with_those_that_exist(stack: Stack) -> None:
    with pytest.raises(DevstackError, match=r"nothing named race_control runs here; there are auth, gateway"):
        stack.kill("race_control")


async def test_servers_are_killed_and_started_again_on_the_same_port_and_data(tmp_path: Path, until: Until) -> None:
    lines: list[str] = []
    with Stack(tmp_path, durable=False, report=lines.append, preload=False, planner=standins) as stack:
        connection = await asyncpg.connect(stack.database_url)
        await connection.execute("CREATE TABLE laps (n int); INSERT INTO laps VALUES (58)")
        addresses = stack.addresses
        for name in ("postgres", "nats", "valkey"):
            stack.kill(name)
            stack.start_again(name)
        connection.terminate()
        connection = await asyncpg.connect(stack.database_url)
        assert await connection.fetchval("SELECT n FROM laps") == 58
        await connection.close()
        assert lines == []
        stack.servers["nats"]._process.kill()  # type: ignore[union-attr]
        until(lambda: bool(lines), "the obituary")
        assert lines[0].startswith("nats died (signal SIGKILL)")
        until(lambda: stack.servers["nats"].running, "the resurrection")
        family = [server.pid for server in stack.servers.values()]
    assert not [pid for pid in family if procfs.alive(pid)]
    with Stack(tmp_path, durable=False, preload=False, planner=standins) as again:
        assert again.addresses == addresses
        connection = await asyncpg.connect(again.database_url)
        assert await connection.fetchval("SELECT n FROM laps") == 58
        await connection.close()


def test_secrets_are_drawn_once_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    passwords = []
    for _ in range(2):
        with Stack(tmp_path, environ=NO_SERVERS, preload=False, planner=standins) as stack:
            passwords.append(stack.addresses.passwords)
    assert passwords[0] == passwords[1]
    assert len(set(passwords[0].values())) == len(migrate.SERVICES)
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_failing_preparation_ends_the_start_with_its_last_line(tmp_path: Path) -> None:
    def planner(addresses: Addresses, season: Season, env: object) -> Plan:
        argv = (sys.executable, "-c", "import sys; sys.exit('PostgreSQL refused: no such role')")
        planned = standins(addresses, season, env)
        return Plan(early=planned.tiers[0], prepare=Child(name="prepare", argv=argv, url="", env={}), tiers=())

    stack = Stack(tmp_path, environ=NO_SERVERS, preload=False, planner=planner)
    with pytest.raises(DevstackError, match="prepare failed: PostgreSQL refused: no such role; log"):
        stack.start()
    assert not stack.programs["auth"].running


def test_a_state_directory_keeps_its_season_and_refuses_another(tmp_path: Path) -> None:
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    with Stack(tmp_path, environ=NO_SERVERS, preload=False, planner=standins, seed=7, pace=30, start=begin) as first:
        kept = first.season
    with Stack(tmp_path, environ=NO_SERVERS, preload=False, planner=standins) as second:
        assert second.season == kept
        assert (second.season.seed, second.season.pace, second.season.start) == (7, 30, begin)
    with pytest.raises(DevstackError, match=r"holds a season with seed 7, not 8; run `make clean` first"):
        Stack(tmp_path, environ=NO_SERVERS, preload=False, planner=standins, seed=8).start()


def test_the_log_of_the_last_run_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    log = tmp_path / "log" / "auth.log"
    log.parent.mkdir()
    log.write_text("yesterday\n")
    with Stack(tmp_path, environ=NO_SERVERS, preload=False, planner=standins):
        pass
    assert log.with_name("auth.log.1").read_text() == "yesterday\n"
    assert "yesterday" not in log.read_text()
