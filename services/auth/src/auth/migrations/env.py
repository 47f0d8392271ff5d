"""Alembic's entry."""

from auth.models import metadata
from common.migrate import run_environment

run_environment(metadata)
