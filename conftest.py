"""Every test of the workspace may use the real servers."""

import contextlib

with contextlib.suppress(ImportError):
    import gateway  # noqa: F401 - its folder has the package's name; pytest would take the folder for the package

pytest_plugins = ["devstack.testing", "devstack.log_watch"]
