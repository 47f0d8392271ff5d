"""`paddock`: for operators, and for the documents that are generated.

paddock docs write     write docs/ and .env.example from the code
paddock docs check     fail when a committed document is not what the code says
paddock events compat  fail when an event breaks the promise of the last release
paddock events release VERSION
                       freeze what is published now, and add its samples to the corpus
paddock topology apply create or update the JetStream streams of NATS_URL
paddock nats init DIR  make the keys of NATS and everybody's credentials, or bring them up to the code
paddock nats renew USER | revoke KEY
                       a new key for a deployable; refuse a key from now on
paddock subscribers add NAME --subjects 'race.>,results.>' | list | remove NAME
                       let somebody outside read events
"""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path

import asyncpg

from common.settings import SettingsError
from paddock import documents, migration, nats_command, releases


def main() -> None:
    """Run one command."""
    match sys.argv[1:]:
        case ["docs", "write"]:
            for path in documents.write(Path.cwd()):
                print(f"wrote {path}")
        case ["docs", "check"]:
            stale = documents.stale(Path.cwd())
            if stale:
                sys.exit("not what the code says, run `make docs`: " + ", ".join(stale))
        case ["events", "compat"]:
            _check_promise()
        case ["events", "release", version]:
            _release(version)
        case ["topology", "apply"]:
            _print(migration.apply_topology())
        case ["migrate"]:
            _print(migration.run())
        case ["nats" | "subscribers" as command, *arguments]:
            _access(command, arguments)
        case _:
            sys.exit(__doc__)


def _access(command: str, arguments: list[str]) -> None:
    try:
        for line in nats_command.run(command, arguments):
            print(line)
    except (SettingsError, *nats_command.TROUBLE) as error:
        sys.exit(str(error))


def _check_promise() -> None:
    try:
        version, broken = releases.check(Path.cwd())
    except releases.ReleaseError as error:
        sys.exit(str(error))
    if broken:
        sys.exit("\n".join([f"breaks what {version} promised to subscribers (docs/events.md, Versions):", *broken]))


def _release(version: str) -> None:
    try:
        for path in releases.release(Path.cwd(), version):
            print(f"wrote {path.relative_to(Path.cwd())}")
    except releases.ReleaseError as error:
        sys.exit(str(error))


def _print(work: Coroutine[None, None, list[str]]) -> None:
    try:
        for line in asyncio.run(work):
            print(line)
    except SettingsError as error:
        sys.exit(str(error))
    except (OSError, asyncpg.PostgresError) as error:
        sys.exit(f"PostgreSQL refused: {error}; check DATABASE_URL")


if __name__ == "__main__":
    main()
