"""`make clean` forgets a season, and never under a running one."""

import os
import subprocess
import sys
from pathlib import Path

from devstack.state import State


def clean(state: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devstack", "clean"],
        env={**os.environ, "PADDOCK_STATE": str(state)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_clean_removes_the_state(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.secret("demo")
    assert clean(state.path).returncode == 0
    assert not state.path.exists()


def test_clean_of_nothing_is_no_error(tmp_path: Path) -> None:
    assert clean(tmp_path / "state").returncode == 0


def test_clean_is_refused_while_paddock_runs(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.take(8000)
    try:
        result = clean(state.path)
    finally:
        state.release()
    assert result.returncode == 1
    assert "already runs" in result.stderr
    assert state.path.exists()
