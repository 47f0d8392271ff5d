"""Alembic's entry to the migrations of `webhooks`."""

from common.migrate import run_environment
from webhooks.models import metadata

run_environment(metadata)
