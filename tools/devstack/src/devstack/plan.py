"""What runs and with which environment, as a pure function of addresses and season."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from devstack.program import Child
from devstack.season import Season

SERVICES = ("auth", "ingest", "leagues", "scoring", "analytics", "webhooks")
KEEPER = "keeper"
MAILBOX = "mailbox"
MAILBOX_SMTP = "mailbox-smtp"
"""The port where the mailbox takes letters; at its own it shows them."""
HOST = "127.0.0.1"
EAGER_POLLING = {
    "INGEST_POLL_SECONDS": "1",
    "INGEST_RESULT_DELAY_SECONDS": "0",
    "INGEST_RECHECK_SECONDS": "5",
    "INGEST_CALENDAR_SECONDS": "30",
    "INGEST_REQUESTS_PER_SECOND": "50",
    "INGEST_REQUESTS_PER_HOUR": "100000",
}
"""A simulator on this machine may be asked as often as its short weekends need; the real upstream may not."""

LOCAL_RECEIVERS = {
    "WEBHOOKS_ALLOW_HTTP": "true",
    "WEBHOOKS_ALLOW_PRIVATE": "true",
    "WEBHOOKS_PORTS": "1024-65535",
}
"""In a playground webhooks are sent to programs of whoever plays with it, on this machine."""

PLAYGROUND_BCRYPT_COST = "8"
"""Demo people are many and their passwords guard nothing; a live season keeps the service's own cost."""
_KINDS = ("LOGIN", "REGISTER", "REFRESH", "FORGOT", "RESEND", "VERIFY", "CHECK")
PLAYGROUND_LIMITS = {f"AUTH_LIMIT_{kind}_ADDRESS": "0" for kind in _KINDS} | {"AUTH_LIMIT_LOGIN_ACCOUNT": "0"}
"""Demo people all come from one address; a live season keeps the service's own limits."""


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where everything of one run listens, and the passwords of the services' database roles."""

    ports: Mapping[str, int]
    database_url: str
    """The administrator's."""
    nats_url: str
    redis_url: str
    passwords: Mapping[str, str]
    home: Path
    """The state directory."""
    nats_keys: Path | None = None
    """Folder of the keys of our own NATS; None where somebody else's is used."""
    nats_credentials: Path | None = None
    """Folder of credentials files; None where NATS lets everybody in."""

    def url(self, name: str) -> str:
        """Base URL of a child."""
        return f"http://{HOST}:{self.ports[name]}"

    def credentials_of(self, user: str) -> dict[str, str]:
        """The variable that names a NATS user's credentials file."""
        return {"NATS_CREDS_FILE": str(self.nats_credentials / f"{user}.creds")} if self.nats_credentials else {}

    def database_url_of(self, service: str) -> str:
        """The URL with the service's own role."""
        parts = urlsplit(self.database_url)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"paddock_{service}:{self.passwords[service]}@{place}"))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run on top of the servers."""

    early: tuple[Child, ...]
    """Need no server, so they start while ``prepare`` runs."""
    prepare: Child | None
    """Runs to its end before the rest."""
    tiers: tuple[tuple[Child, ...], ...]
    """All start at once; the last tier is the first to end."""
    credentials: Child | None = None
    """Makes everybody's NATS credentials, while ``prepare`` runs."""


def child_names(season: Season) -> tuple[str, ...]:
    """Who needs a port, without the gateway."""
    ours = (*SERVICES, KEEPER, MAILBOX, MAILBOX_SMTP)
    return ours if season.source == "live" else ("trackside", *ours)


def paddock(addresses: Addresses, season: Season, environ: Mapping[str, str]) -> Plan:
    """The whole product. ``environ`` is what every child inherits."""
    environ = {name: value for name, value in environ.items() if name != "DATABASE_URL"}  # an administrator's
    shared = {**environ, "PADDOCK_ENV": "development", "HOST": HOST, "PYTHONUNBUFFERED": "1"}
    shared |= {"NATS_URL": addresses.nats_url, "REDIS_URL": addresses.redis_url}
    shared |= {f"{name.upper()}_URL": addresses.url(name) for name in SERVICES}
    services = tuple(_service(name, addresses, shared | _extra(name, addresses, season, environ)) for name in SERVICES)
    keeper = _keeper(addresses, shared)
    own = {"PORT": str(addresses.ports["gateway"]), **addresses.credentials_of("gateway")}
    gateway = _python("gateway", addresses, shared | own)
    simulator = () if season.source == "live" else (_trackside(addresses, season, environ),)
    passwords = {f"PADDOCK_DB_PASSWORD_{name.upper()}": addresses.passwords[name] for name in SERVICES}
    prepare = Child(
        name="migrate",
        argv=(sys.executable, "-m", "paddock", "migrate"),
        url="",
        forked=True,
        env={**shared, **addresses.credentials_of("paddock"), "DATABASE_URL": addresses.database_url, **passwords},
    )
    credentials = Child(
        name="nats-init",
        argv=(sys.executable, "-m", "paddock", "nats", "init", str(addresses.nats_keys)),
        url="",
        forked=True,
        env=environ,
    )
    return Plan(
        early=(*simulator, _mailbox(addresses, environ)),
        prepare=prepare,
        tiers=((*services, keeper), (gateway,)),
        credentials=credentials if addresses.nats_keys else None,
    )


def _python(name: str, addresses: Addresses, env: Mapping[str, str], *arguments: str) -> Child:
    return Child(
        name=name,
        argv=(sys.executable, "-m", name, *arguments),
        url=addresses.url(name),
        env=env,
        forked=name != "trackside",
    )


def _service(name: str, addresses: Addresses, env: Mapping[str, str]) -> Child:
    own = {"PORT": str(addresses.ports[name]), "DATABASE_URL": addresses.database_url_of(name)}
    own |= addresses.credentials_of(name)
    return _python(name, addresses, {**env, **own})


def _keeper(addresses: Addresses, env: Mapping[str, str]) -> Child:
    own = {"PORT": str(addresses.ports[KEEPER]), **addresses.credentials_of("paddock")}
    return Child(
        name=KEEPER,
        argv=(sys.executable, "-m", "paddock.keeper"),
        url=addresses.url(KEEPER),
        env={**env, **own},
        forked=True,
    )


def _extra(name: str, addresses: Addresses, season: Season, inherited: Mapping[str, str]) -> dict[str, str]:
    """What a service must know beyond its addresses."""
    if name == "auth":
        cheap = {"AUTH_BCRYPT_COST": PLAYGROUND_BCRYPT_COST} | PLAYGROUND_LIMITS if season.source != "live" else {}
        own = cheap | _letters(addresses) | {"AUTH_OBJECT_STORE_URL": (addresses.home / "avatars").absolute().as_uri()}
        return {variable: inherited.get(variable) or value for variable, value in own.items()}
    if name == "webhooks" and season.source != "live":
        return LOCAL_RECEIVERS
    if name != "ingest":
        return {}
    own = {"INGEST_SEASON": str(season.year)}
    if season.source != "live":
        own |= EAGER_POLLING | {"INGEST_JOLPICA_URL": f"{addresses.url('trackside')}/ergast/f1"}
    return own


def _letters(addresses: Addresses) -> dict[str, str]:
    """Where `auth` sends letters, and where the links in them lead."""
    return {
        "AUTH_SMTP_HOST": HOST,
        "AUTH_SMTP_PORT": str(addresses.ports[MAILBOX_SMTP]),
        "AUTH_LINK_URL": addresses.url("gateway"),
    }


def _mailbox(addresses: Addresses, environ: Mapping[str, str]) -> Child:
    ports = ("--port", str(addresses.ports[MAILBOX]), "--smtp-port", str(addresses.ports[MAILBOX_SMTP]))
    return Child(
        name=MAILBOX,
        argv=(sys.executable, "-m", "paddock_mailbox", "--host", HOST, *ports),
        url=addresses.url(MAILBOX),
        env=environ,
    )


def _trackside(addresses: Addresses, season: Season, environ: Mapping[str, str]) -> Child:
    arguments = ["--host", HOST, "--port", str(addresses.ports["trackside"])]
    arguments += ["--pace", f"{season.pace:g}", "--start", season.start.isoformat()]
    arguments += ["--state", str(addresses.home / "trackside.json")]
    if season.rounds:
        arguments += ["--rounds", season.rounds]
    if season.source == "recorded":
        arguments += ["--season", str(season.year), "--recorded", str(season.recorded)]
    else:
        arguments += ["--season", str(season.year), "--seed", str(season.seed)]
    return _python("trackside", addresses, environ, *arguments)
