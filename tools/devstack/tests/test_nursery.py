import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from devstack import procfs, spawn
from devstack.errors import DevstackError
from devstack.preload import Forked, Nursery

Until = Callable[[Callable[[], bool], str], None]
Run = Callable[..., Forked]

pytestmark = pytest.mark.skipif(not Nursery.possible(), reason="this system starts every service by itself")

TELL = """
import json, os, random, signal, sys, threading
sys.stdout.write(json.dumps({
    "name": __name__, "argv": sys.argv[1:], "env": dict(os.environ), "session": os.getsid(0), "pid": os.getpid(),
    "fds": len(os.listdir("/proc/self/fd")), "child": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
    "dice": random.random(), "threads": threading.active_count(), "imported": "decimal" in sys.modules,
}) + "\\n")
"""


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    (tmp_path / "tell.py").write_text(TELL)
    (tmp_path / "fail.py").write_text("import sys; sys.exit('no such role')")
    (tmp_path / "crash.py").write_text("raise RuntimeError('gearbox')")
    (tmp_path / "stay.py").write_text("import signal, sys; print('here'); signal.pause()")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    running = Nursery(tmp_path / "nursery.log", os.environ | {"PYTHONPATH": path}, modules=["decimal"])
    running.start()
    yield running
    running.kill()


@pytest.fixture
def run(nursery: Nursery, tmp_path: Path) -> Run:
    def start(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Forked:
        argv = (sys.executable, "-m", module, *arguments)
        return nursery.spawn(argv, log=tmp_path / f"{module}.log", env=env or {})

    return start


def test_a_forked_program_is_what_a_started_one_would_be(run: Run, tmp_path: Path) -> None:
    children = [run("tell", "--port", "1", env={"LIGHTS": "out"}) for _ in range(2)]
    assert [child.wait(10) for child in children] == [0, 0]
    told = [json.loads(line) for line in (tmp_path / "tell.log").read_text().splitlines()]
    assert {each["pid"] for each in told} == {child.pid for child in children}
    for each in told:
        assert (each["name"], each["argv"]) == ("__main__", ["--port", "1"])
        assert each["env"] == {"LIGHTS": "out"}
        assert each["session"] == each["pid"]
        assert each["fds"] == 4  # standard input, output, error, and the listing itself
        assert each["child"]
        assert each["imported"]
        assert each["threads"] == 1
    assert told[0]["dice"] != told[1]["dice"]


@pytest.mark.parametrize(
    ("module", "code", "line"), [("fail", 1, "no such role"), ("crash", 1, "RuntimeError: gearbox")]
)
def test_its_end_and_its_last_words_are_known(run: Run, tmp_path: Path, module: str, code: int, line: str) -> None:
    assert run(module).wait(10) == code
    assert (tmp_path / f"{module}.log").read_text().splitlines()[-1] == line


def test_it_is_listed_under_its_own_name_and_can_be_killed(run: Run, tmp_path: Path, until: Until) -> None:
    child = run("stay")
    until(lambda: (tmp_path / "stay.log").exists() and "here" in (tmp_path / "stay.log").read_text(), "its start")
    assert (procfs.command(child.pid) or "").split()[1:] == ["-m", "stay"]
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.01)
    spawn.kill(child)
    assert child.poll() == -signal.SIGKILL
    assert not procfs.alive(child.pid)


def test_children_of_a_killed_nursery_are_dead_and_known_to_be(run: Run, nursery: Nursery, until: Until) -> None:
    child = run("stay")
    assert nursery.pid is not None
    os.kill(nursery.pid, signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    until(lambda: not procfs.alive(child.pid), "the end of the child")
    with pytest.raises(DevstackError, match="gives no process for stay"):
        run("stay")
    nursery.revive()
    assert run("tell").wait(10) == 0


def test_what_cannot_be_imported_is_told_in_one_line(tmp_path: Path) -> None:
    broken = Nursery(tmp_path / "nursery.log", os.environ, modules=["no_such_module"])
    broken.start()
    with pytest.raises(
        DevstackError, match="gives no process for tell: ModuleNotFoundError: No module named"
    ) as refusal:
        broken.spawn((sys.executable, "-m", "tell"), log=tmp_path / "x.log", env={})
    assert "\n" not in str(refusal.value)
    broken.kill()
