"""Servers for a test run: those that the environment names, else containers where Docker answers, else embedded ones.

``DATABASE_URL`` (an administrator's), ``NATS_URL`` and ``REDIS_URL`` count when all three are set.
``PADDOCK_TEST_SERVERS=embedded`` passes Docker by.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from devstack import servers

DOCKER_SECONDS = 2
DOCKER_SOCKET = Path("/var/run/docker.sock")
POSTGRES_IMAGE, NATS_IMAGE, VALKEY_IMAGE = "postgres:18", "nats:2.12", "valkey/valkey:9"


class Urls(NamedTuple):
    """Where the servers are; the database URL is an administrator's."""

    database: str
    nats: str
    redis: str


@contextlib.contextmanager
def lend(environ: Mapping[str, str], folder: Path) -> Iterator[Urls]:
    """Give servers for the length of the block; ``folder`` takes the data of embedded ones."""
    given = [environ.get(name) for name in ("DATABASE_URL", "NATS_URL", "REDIS_URL")]
    with contextlib.ExitStack() as stack:
        if all(given):
            yield Urls(*map(str, given))
        elif environ.get("PADDOCK_TEST_SERVERS") != "embedded" and docker_answers(environ):
            yield _containers(stack)
        else:
            yield _embedded(stack, folder)


def docker_answers(environ: Mapping[str, str]) -> bool:
    """Tell whether a Docker engine is there to start containers."""
    if not environ.get("DOCKER_HOST") and not DOCKER_SOCKET.exists():
        return False
    import docker  # noqa: PLC0415 - comes with testcontainers, a development dependency
    from docker.errors import DockerException  # noqa: PLC0415 - the same

    try:
        with contextlib.closing(docker.from_env(timeout=DOCKER_SECONDS)) as client:
            return bool(client.ping())
    except DockerException:
        return False


def _embedded(stack: contextlib.ExitStack, folder: Path) -> Urls:
    postgres = servers.start_postgres(folder / "postgres", durable=False)
    stack.callback(postgres.stop)
    nats = servers.start_nats(folder / "nats", durable=False)
    stack.callback(nats.stop)
    valkey = servers.start_valkey(folder / "valkey")
    stack.callback(valkey.stop)
    return Urls(postgres.url, nats.url, valkey.url)


def _containers(stack: contextlib.ExitStack) -> Urls:
    from testcontainers.nats import NatsContainer  # noqa: PLC0415 - a development dependency that needs a Docker engine
    from testcontainers.postgres import PostgresContainer  # noqa: PLC0415 - the same
    from testcontainers.redis import RedisContainer  # noqa: PLC0415 - the same

    postgres = stack.enter_context(PostgresContainer(POSTGRES_IMAGE, driver=None))
    nats = stack.enter_context(NatsContainer(NATS_IMAGE, jetstream=True))
    valkey = stack.enter_context(RedisContainer(VALKEY_IMAGE))
    redis = f"redis://{valkey.get_container_host_ip()}:{valkey.get_exposed_port(6379)}/0"
    return Urls(postgres.get_connection_url(), nats.nats_uri(), redis)
