"""Under which account PostgreSQL runs, which refuses root, and what that account can reach."""

import os
import pwd
import stat
from pathlib import Path

from devstack.errors import DevstackError
from devstack.spawn import Account

CANDIDATES = ("postgres", "nobody")


def _by_name(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid) if entry.pw_uid else None


def unprivileged(data_dir: Path) -> Account | None:
    """The account for PostgreSQL on ``data_dir``; None when we are not root and run it as ourselves.

    The owner of data that exists comes first, then the user behind sudo, then accounts that every system has.
    """
    if os.geteuid() != 0:
        if data_dir.exists() and data_dir.stat().st_uid != os.geteuid():
            raise DevstackError(f"{data_dir} belongs to another account; use that account or remove it")
        return None
    if data_dir.exists() and (owner := data_dir.stat().st_uid):
        try:
            entry = pwd.getpwuid(owner)
        except KeyError as error:
            raise DevstackError(
                f"{data_dir} belongs to uid {owner}, which has no account; chown or remove it"
            ) from error
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in (os.environ.get("SUDO_USER", ""), *CANDIDATES):
        if name and (account := _by_name(name)):
            return account
    raise DevstackError("PostgreSQL does not run as root and there is no account `postgres` or `nobody`; create one")


def may(path: Path, account: Account, wanted: int) -> bool:
    """Tell by the mode bits whether ``account`` has the rights ``wanted`` (4 read, 2 write, 1 enter) on ``path``."""
    status = path.stat()
    if status.st_uid == account.uid:
        shift = 6
    elif status.st_gid == account.gid:
        shift = 3
    else:
        shift = 0
    return (stat.S_IMODE(status.st_mode) >> shift) & wanted == wanted


def reachable(path: Path, account: Account) -> bool:
    """Tell whether ``account`` may enter every directory above ``path``."""
    return all(may(parent, account, 1) for parent in path.absolute().parents)
