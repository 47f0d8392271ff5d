"""Root, not root, and data or programs in a folder that only root may enter."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import devstack
from devstack import pgbinaries, wheels
from devstack.accounts import may, reachable, unprivileged
from devstack.servers import DevstackError, start_postgres
from devstack.spawn import Account

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

NOBODY = Account("nobody", 65534, 65534)

EVERY_SERVER = """
import os, sys
from pathlib import Path
from devstack.servers import start_nats, start_postgres, start_valkey
home = Path(sys.argv[1])
servers = [start_postgres(home / "p", durable=False), start_nats(home / "n"), start_valkey(home / "v")]
for server in servers:
    server.kill()
    server.restart()
    server.stop()
print("uid", os.geteuid())
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@as_root
def test_root_runs_postgres_as_an_ordinary_account_inside_a_private_folder(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = start_postgres(private / "postgres", durable=False)
    owner = Path(f"/proc/{server.pid}").stat().st_uid if sys.platform == "linux" else server.cluster.stat().st_uid
    server.stop()
    assert owner != 0
    assert server.cluster.stat().st_uid == owner
    assert server.cluster.is_relative_to(private)
    assert private.stat().st_mode & 0o777 == 0o700


def reachable_python() -> str | None:
    """A Python of our version that an ordinary account can run: ours, or the system's."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(name, path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")):
        if candidate and reachable(Path(candidate).resolve(), NOBODY):
            return candidate
    return None


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_an_ordinary_account_runs_every_server(open_folder: Path) -> None:
    python = reachable_python()
    packages = [Path(devstack.__file__).parents[1], Path(sysconfig.get_path("purelib"))]
    if python is None or not all(reachable(folder / "x", NOBODY) for folder in packages):
        pytest.skip("Python or the checkout lies in a folder that other accounts cannot enter")
    os.chown(open_folder, NOBODY.uid, NOBODY.gid)
    become = ["setpriv", f"--reuid={NOBODY.uid}", f"--regid={NOBODY.gid}", "--clear-groups"]
    run = subprocess.run(  # noqa: S603 - our own script
        [*become, python, "-c", EVERY_SERVER, open_folder],
        capture_output=True,
        text=True,
        check=False,
        cwd=open_folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, packages)), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (run.stdout, run.stderr) == (f"uid {NOBODY.uid}\n", "")


@as_root
def test_programs_that_the_account_cannot_read_are_copied_once(
    tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = wheels.located(pgbinaries.WHEEL, "pginstall/bin/postgres").parents[2]
    hidden = tmp_path / "site-packages"
    hidden.mkdir(mode=0o700)
    for folder in (installed, pgbinaries._libraries(installed / "pginstall")):
        if folder.exists():
            shutil.copytree(folder, hidden / folder.name, copy_function=os.link, symlinks=True)
    monkeypatch.setattr(wheels, "located", lambda *_: hidden / installed.name / "pginstall" / "bin" / "postgres")
    monkeypatch.setattr(pgbinaries, "CACHES", (open_folder / "cache",))
    server = start_postgres(tmp_path / "postgres", durable=False)
    server.stop()
    assert server._bin.is_relative_to(open_folder)
    made = (server._bin / "postgres").stat().st_mtime_ns, list((open_folder / "cache").iterdir())
    start_postgres(tmp_path / "postgres", durable=False).stop()
    assert made == ((server._bin / "postgres").stat().st_mtime_ns, list((open_folder / "cache").iterdir()))
    assert len(made[1]) == 1


@as_root
def test_data_that_exists_decides_the_account(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    account = unprivileged(tmp_path)
    assert account is not None
    assert account.uid == 65534


def test_rights_are_read_from_the_bits_that_apply_to_the_account(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    status = tmp_path.stat()
    assert may(tmp_path, Account("owner", status.st_uid, 1), 7)
    assert may(tmp_path, Account("group", 4242, status.st_gid), 5)
    assert not may(tmp_path, Account("group", 4242, status.st_gid), 2)
    assert not may(tmp_path, Account("other", 4242, 4242), 1)


def test_a_missing_wheel_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(DevstackError, match=r"no-such-wheel is not installed.*make install") as refusal:
        wheels.located("no-such-wheel", "bin/server")
    assert "\n" not in str(refusal.value)
