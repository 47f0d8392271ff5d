"""Every test of the workspace may use the real servers."""

pytest_plugins = ["common.testing"]
