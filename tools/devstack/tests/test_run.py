"""The whole life of `devstack run`, with stand-ins for the services, as its own process with real signals."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from devstack import procfs
from devstack.ports import free_port

Until = Callable[[Callable[[], bool], str], None]
Start = Callable[..., "subprocess.Popen[str]"]
SCRIPT = Path(__file__).with_name("standin_run.py")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Run on the state directory `state` in the test's folder; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*manners: str, port: int | None = None) -> "subprocess.Popen[str]":
        process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, SCRIPT, tmp_path / "state", str(port or free_port()), *manners],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def stream(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def family_of(state: Path) -> list[int]:
    pids = [pid for pid, _ in json.loads((state / "pids.json").read_text()).values()]
    return pids + [each for pid in pids for each in procfs.descendants(pid)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_in_reverse_order(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    process = start()
    assert stream(process).readline() == "ready\n"
    family = family_of(tmp_path / "state")
    assert len(family) == 4
    process.send_signal(number)
    output, errors = process.communicate(timeout=10)
    assert (output, errors, process.returncode) == ("stopping\n", "", 0)
    stopped = (tmp_path / "state" / "stopped").read_text().split()
    assert stopped[0] == "gateway"
    assert set(stopped[1:3]) == {"auth", "leagues"}
    assert stopped[3] == "trackside"
    assert not [pid for pid in family if procfs.alive(pid)]


def test_children_do_not_hear_the_terminals_interrupt(start: Start, tmp_path: Path) -> None:
    process = start()
    assert stream(process).readline() == "ready\n"
    groups = {os.getpgid(pid) for pid in family_of(tmp_path / "state")}
    assert len(groups) == 4
    assert os.getpgid(process.pid) not in groups


def test_a_second_interrupt_kills_what_does_not_want_to_end(start: Start, tmp_path: Path, until: Until) -> None:
    process = start("auth:stubborn,breeds")
    assert stream(process).readline() == "ready\n"
    family = family_of(tmp_path / "state")
    bred = int((tmp_path / "state" / "bred").read_text())
    process.send_signal(signal.SIGINT)
    assert stream(process).readline() == "stopping\n"
    with contextlib.suppress(subprocess.TimeoutExpired):  # past the time in which a signal counts as an echo
        process.wait(0.6)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)
    assert process.returncode == 130
    until(lambda: not any(procfs.alive(pid) for pid in [*family, bred]), "the end of every child")


def test_the_same_signal_from_the_terminal_and_from_make_counts_once(start: Start) -> None:
    process = start()
    assert stream(process).readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_a_signal_during_the_start_calls_it_off(start: Start, tmp_path: Path, until: Until) -> None:
    process = start("auth:never-ready")
    until((tmp_path / "state" / "pids.json").exists, "the first children")
    until(lambda: len(family_of(tmp_path / "state")) == 4, "all children")
    family = family_of(tmp_path / "state")
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=10)
    assert ("ready" in output, errors, process.returncode) == (False, "", 0)
    assert not [pid for pid in family if procfs.alive(pid)]


def test_a_killed_run_leaves_nothing_and_the_next_one_clears_what_its_children_started(
    start: Start, tmp_path: Path, until: Until
) -> None:
    process = start("auth:breeds")
    assert stream(process).readline() == "ready\n"
    family = family_of(tmp_path / "state")
    bred = int((tmp_path / "state" / "bred").read_text())
    process.kill()
    process.wait()
    until(lambda: not any(procfs.alive(pid) for pid in family if pid != bred), "the end of every child")
    assert procfs.alive(bred)
    again = start()
    assert stream(again).readline() == "auth was left from an earlier run and has been ended\n"
    assert stream(again).readline() == "ready\n"
    assert not procfs.alive(bred)


def test_a_second_run_says_in_one_line_who_holds_the_state_directory(start: Start) -> None:
    port = free_port()
    first = start(port=port)
    assert stream(first).readline() == "ready\n"
    second = start()
    output, errors = second.communicate(timeout=10)
    assert (output, second.returncode) == ("", 1)
    assert "already runs from" in errors
    assert f"pid {first.pid} on port {port}" in errors
    assert errors.count("\n") == 1


def test_a_run_on_another_state_directory_says_who_holds_the_port(start: Start, tmp_path: Path) -> None:
    port = free_port()
    first = start(port=port)
    assert stream(first).readline() == "ready\n"
    second = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, SCRIPT, tmp_path / "other", str(port)], capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    assert f"port {port}, wanted by the gateway, is held by pid" in second.stderr
    assert "PORT=another" in second.stderr
    assert second.stderr.count("\n") == 1


def test_a_child_that_keeps_dying_ends_the_run_with_one_line(start: Start, tmp_path: Path) -> None:
    process = start("leagues:sickly")
    output, errors = process.communicate(timeout=40)
    assert process.returncode == 1
    told = [line for line in output.splitlines() if line.startswith("leagues died (exit code 1): Error: born sick")]
    assert [line.rpartition(" in ")[2] for line in told] == ["1 s", "2 s", "4 s", "4 s"]
    assert errors.startswith("leagues died 5 times within 60 s, so everything stops: Error: born sick")
    assert str(tmp_path / "state" / "log" / "leagues.log") in errors
    assert errors.count("\n") == 1
    assert not json.loads((tmp_path / "state" / "pids.json").read_text())
