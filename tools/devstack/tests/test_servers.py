import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import nats
import nats.js.api
import pytest
import redis.asyncio

from devstack import procfs
from devstack.embedded import Embedded
from devstack.servers import DevstackError, free_port, start_nats, start_postgres, start_valkey

Until = Callable[[Callable[[], bool], str], None]
Start = Callable[..., Embedded]


def start_fast_postgres(data_dir: Path, port: int | None = None) -> Embedded:
    return start_postgres(data_dir, durable=False, port=port)


STARTERS = [
    pytest.param(start_fast_postgres, id="postgres"),
    pytest.param(start_nats, id="nats"),
    pytest.param(start_valkey, id="valkey"),
]


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Embedded]:
    server = start_fast_postgres(tmp_path / "postgres")
    yield server
    server.kill()


async def test_a_committed_row_survives_a_crash_of_postgres(postgres: Embedded) -> None:
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE TABLE laps (n int); INSERT INTO laps VALUES (58)")
    url = postgres.url
    postgres.kill()
    postgres.restart()
    again = await asyncpg.connect(postgres.url)
    assert await again.fetchval("SELECT n FROM laps") == 58
    assert postgres.url == url
    await again.close()
    connection.terminate()


@pytest.mark.parametrize("durable", [True, False])
async def test_an_acknowledged_message_survives_a_crash_of_nats(tmp_path: Path, durable: bool) -> None:  # noqa: FBT001
    server = start_nats(tmp_path, durable=durable)
    client = await nats.connect(server.url)
    await client.jetstream().add_stream(nats.js.api.StreamConfig(name="EVENTS", subjects=["race.>"]))
    await client.jetstream().publish("race.finished", b"lights out")
    await client.close()
    url = server.url
    server.kill()
    server.restart()
    client = await nats.connect(server.url)
    message = await client.jetstream().get_msg("EVENTS", seq=1)
    assert (message.data, server.url) == (b"lights out", url)
    await client.close()
    server.stop()


async def test_a_key_survives_a_stop_of_valkey(tmp_path: Path) -> None:
    server = start_valkey(tmp_path)
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.set("pole", "norris")
    server.restart()
    async with redis.asyncio.Redis.from_url(server.url) as client:
        assert await client.get("pole") == b"norris"
    server.stop()


async def test_postgres_admits_two_hundred_connections_and_opens_no_socket_file(postgres: Embedded) -> None:
    connection = await asyncpg.connect(postgres.url)
    assert await connection.fetchval("SHOW max_connections") == "200"
    assert await connection.fetchval("SHOW unix_socket_directories") == ""
    assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
    await connection.close()


@pytest.mark.parametrize("start", STARTERS)
def test_stop_leaves_no_process_and_may_be_called_twice(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    family = [server.pid, *procfs.descendants(server.pid)]
    server.stop()
    server.stop()
    assert not [pid for pid in family if procfs.alive(pid)]
    assert not server.running


@pytest.mark.parametrize("start", STARTERS)
def test_a_held_port_is_one_line_that_names_the_holder(tmp_path: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(DevstackError) as refusal:
            start(tmp_path, port=port)
    message = str(refusal.value)
    assert f"port {port}" in message
    assert f"pid {os.getpid()}" in message
    assert "\n" not in message


@pytest.mark.parametrize("start", STARTERS)
def test_two_servers_never_share_a_data_directory(tmp_path: Path, start: Start) -> None:
    first = start(tmp_path)
    with pytest.raises(DevstackError, match=f"in use by pid {first.pid}"):
        start(tmp_path)
    first.stop()
    start(tmp_path).stop()


def test_a_stale_pid_file_that_names_a_living_stranger_does_not_block_postgres(tmp_path: Path) -> None:
    server = start_postgres(tmp_path, durable=False)
    stranger = subprocess.Popen(["/bin/sleep", "60"], user=server.cluster.stat().st_uid)
    try:
        server.kill()
        pid_file = server.cluster / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        server.restart()
        assert server.running
    finally:
        server.stop()
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("start", STARTERS)
def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path, start: Start) -> None:
    started: list[Embedded] = []
    thread = threading.Thread(target=lambda: started.append(start(tmp_path)))
    thread.start()
    thread.join()
    server = started[0]
    with pytest.raises(subprocess.TimeoutExpired):
        server._process.wait(0.2)  # type: ignore[union-attr]
    server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_servers_die_with_a_parent_that_is_killed(tmp_path: Path, until: Until) -> None:
    script = (
        "import sys, time; from pathlib import Path; from devstack.servers import *; d = Path(sys.argv[1]);"
        "s = [start_postgres(d / 'p', durable=False), start_nats(d / 'n'), start_valkey(d / 'v')];"
        "print(*(x.pid for x in s), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        pids = [int(text) for text in parent.stdout.readline().split()]
    family = pids + [each for pid in pids for each in procfs.descendants(pid)]
    assert len(pids) == 3
    parent.kill()
    parent.wait()
    until(lambda: not any(procfs.alive(pid) for pid in family), "the end of every server")


def test_a_server_that_cannot_start_tells_its_own_reason_in_one_line(tmp_path: Path) -> None:
    server = start_valkey(tmp_path)
    server.stop()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(DevstackError, match=r"Valkey ended with code 1: .*; log ") as refusal:
        server.start()
    assert "\n" not in str(refusal.value)


def test_free_ports_differ_and_lie_where_no_client_connection_takes_one() -> None:
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) if sys.platform == "linux" else 0
    assert not low or max(ports) < low
