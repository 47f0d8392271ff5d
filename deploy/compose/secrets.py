# noqa: INP001 - a script of its own, for any Python 3
"""Write `.env` with fresh secrets for docker-compose.yml, once.

It never overwrites: a new AUTH_PASSWORD_PEPPER would make every password wrong, a new AUTH_KEY_ENCRYPTION_SECRET every
signing key unreadable and a new WEBHOOKS_ENCRYPTION_SECRET every subscriber's, and a new POSTGRES_PASSWORD would not be
that of the volume that is already there.
"""

import os
import sys
from pathlib import Path

NAMES = (
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
    *(f"PADDOCK_DB_PASSWORD_{name}" for name in ("AUTH", "INGEST", "LEAGUES", "SCORING", "ANALYTICS", "WEBHOOKS")),
    "AUTH_PASSWORD_PEPPER",
    "AUTH_REFRESH_SECRET",
    "AUTH_KEY_ENCRYPTION_SECRET",
    "AUTH_TOKEN_SECRET",
    "WEBHOOKS_ENCRYPTION_SECRET",
)
RANDOM_BYTES = 24


def secret() -> str:
    """Return 49 characters that need no escaping in a URL."""
    return "s" + os.urandom(RANDOM_BYTES).hex()  # the module `secrets` is hidden by the name of this file


def write(file: Path) -> None:
    """Write the file, readable by its owner alone; raise `FileExistsError` when there is one."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.writelines(f"{name}={secret()}\n" for name in NAMES)


def main() -> None:
    """Write the file that is named, or `.env` beside docker-compose.yml."""
    file = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).resolve().parents[2] / ".env"
    try:
        write(file)
    except FileExistsError:
        sys.exit(f"{file} is there already and stays as it is; to begin anew remove it and the volumes")
    sys.stdout.write(f"wrote {file}: keep a copy of it somewhere safe\n")


if __name__ == "__main__":
    main()
