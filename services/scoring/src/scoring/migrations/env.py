"""Alembic's environment of this service."""

from common.migrate import run_environment
from scoring.models import metadata

run_environment(metadata)
