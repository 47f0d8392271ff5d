import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from trackside.__main__ import main
from trackside.config import Config, ConfigError


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    return capsys.readouterr().err


def test_a_missing_folder_is_one_clear_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = complaint(capsys, "--recorded", str(tmp_path / "nowhere"), "--season", "2024")
    assert said == f"trackside: there is no folder {tmp_path / 'nowhere'}\n"


def test_a_season_without_facts_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there are no facts to generate season 2031 from" in complaint(capsys, "--season", "2031")


def test_a_start_that_is_none_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'tomorrow' is neither" in complaint(capsys, "--start", "tomorrow")


def test_rounds_that_are_not_there_are_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "season 2026 has no rounds 30-31" in complaint(capsys, "--rounds", "30-31")


def test_a_port_in_use_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}" in complaint(capsys, "--port", str(port))


@pytest.mark.parametrize("options", [{"pace": -1}, {"rounds": (3, 1)}, {"rounds": (0, 1)}, {"throttle": 0}])
def test_a_configuration_that_makes_no_sense_cannot_be_made(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Config(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("told", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_it_serves_on_a_free_port_says_so_in_one_line_and_stops_when_told(told: signal.Signals, code: int) -> None:
    command = [sys.executable, "-m", "trackside", "--port", "0", "--start", "now", "--pace", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "season 2026 (simulated), rounds 1-24, a weekend every 60 s from" in line
        address = line.rsplit(" ", 1)[-1].strip()
        with urllib.request.urlopen(f"{address}2026.json", timeout=10) as answer:  # noqa: S310 - our own server
            assert answer.status == 200
        process.send_signal(told)
        assert process.wait(timeout=20) == code
        assert process.stderr.read() == ""
