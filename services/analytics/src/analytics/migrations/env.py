"""Alembic's entry to the migrations of `analytics`."""

from analytics.models import metadata
from common.migrate import run_environment

run_environment(metadata)
