from common.migrate import run_environment
from ingest.models import metadata

run_environment(metadata)
