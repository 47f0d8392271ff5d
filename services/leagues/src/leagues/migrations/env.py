"""Alembic's entry to the migrations of `leagues`."""

from common.migrate import run_environment
from leagues.models import metadata

run_environment(metadata)
