"""`paddock`: for operators, and for the documents that are generated.

paddock docs write     write docs/ and .env.example from the code
paddock docs check     fail when a committed document is not what the code says
paddock events compat  fail when an event breaks the promise of the last release
paddock events release VERSION
                       freeze what is published now, and add its samples to the corpus
paddock events generate-app docs/asyncapi.yaml --subjects 'race.>,results.>' --output DIR
                       write a FastStream application for those events
paddock events tail    print events as they come, or those of the past
paddock events replay --consumer DURABLE --from-seq N | --since TIME | --all
                       give a durable consumer its past again
paddock events rebuild PROJECTION
                       compute tables anew from their events while the service goes on
paddock events reconcile
                       build the stream anew from the outboxes
paddock topology apply | check | render
                       create or update the streams and durables of NATS_URL; say what differs there from the code;
                       print them for NACK
paddock dlq list | show ID | redrive --id ID | drop --id ID
                       deliveries that were given up: look, give back (--consumer NAME or --all too), drop
paddock audit list     what operators did
paddock keep           run the process that keeps streams and dead letters, until stopped
paddock create-admin --username NAME --email ADDRESS
                       make the first admin; needs the environment of auth, as the next four do
paddock rotate-keys    a new key for access tokens (--now); --withdraw KID refuses one
paddock purge-tokens   remove what has expired, as auth does by itself
paddock seed           make demo accounts (--users N), not in production
paddock audit-accounts verify | list
                       what was done to accounts, and whether the log is whole
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
import nats.errors
from sqlalchemy.exc import DBAPIError

from common.settings import SettingsError
from paddock import (
    account_commands,
    documents,
    event_commands,
    keeper,
    migration,
    nats_command,
    operating,
    releases,
    subscriber_app,
)


def main() -> None:
    """Run one command."""
    match sys.argv[1:]:
        case ["docs", "write" | "check" as act]:
            _documents(act)
        case ["events", command, *arguments]:
            _events(command, arguments)
        case ["keep"]:
            keeper.keep()
        case ["topology" | "dlq" | "audit" as command, *arguments]:
            _print(operating.run(command, arguments))
        case [command, *arguments] if command in account_commands.COMMANDS:
            _print(account_commands.run(command, arguments))
        case ["migrate"]:
            _print(migration.run())
        case ["nats" | "subscribers" as command, *arguments]:
            _access(command, arguments)
        case _:
            sys.exit(__doc__)


def _documents(act: str) -> None:
    if act == "write":
        for path in documents.write(Path.cwd()):
            print(f"wrote {path}")
    elif stale := documents.stale(Path.cwd()):
        sys.exit("not what the code says, run `make docs`: " + ", ".join(stale))


def _events(command: str, arguments: list[str]) -> None:
    if command not in event_commands.COMMANDS:
        return _contracts(command, arguments)
    try:
        event_commands.run([command, *arguments])
    except (SettingsError, *event_commands.TROUBLE) as error:
        sys.exit(str(error))


def _access(command: str, arguments: list[str]) -> None:
    try:
        for line in nats_command.run(command, arguments):
            print(line)
    except (SettingsError, *nats_command.TROUBLE) as error:
        sys.exit(str(error))


def _contracts(command: str, arguments: list[str]) -> None:
    try:
        match command, arguments:
            case "compat", []:
                version, broken = releases.check(Path.cwd())
                if broken:
                    words = f"breaks what {version} promised to subscribers (docs/events.md, Versions):"
                    sys.exit("\n".join([words, *broken]))
            case "release", [version]:
                for path in releases.release(Path.cwd(), version):
                    print(f"wrote {path.relative_to(Path.cwd())}")
            case "generate-app", _:
                for path in subscriber_app.main(arguments):
                    print(f"wrote {path}")
            case _:
                sys.exit(__doc__)
    except (releases.ReleaseError, subscriber_app.GenerateError) as error:
        sys.exit(str(error))


def _print(work: Coroutine[None, None, list[str]]) -> None:
    try:
        for line in asyncio.run(work):
            print(line)
    except (SettingsError, operating.OperatingError, account_commands.AccountError) as error:
        sys.exit(str(error))
    except nats.errors.Error as error:
        sys.exit(f"NATS refused: {error}; check NATS_URL and NATS_CREDS")
    except DBAPIError as error:
        sys.exit(f"PostgreSQL refused: {error.orig}; check DATABASE_URL")
    except (OSError, asyncpg.PostgresError) as error:
        sys.exit(f"PostgreSQL refused: {error}; check DATABASE_URL")


if __name__ == "__main__":
    main()
