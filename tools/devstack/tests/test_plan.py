from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from devstack.plan import KEEPER, MAILBOX, MAILBOX_SMTP, SERVICES, Addresses, Plan, child_names, paddock
from devstack.program import Child
from devstack.season import Season, Source

ADDRESSES = Addresses(
    ports={name: 9000 + n for n, name in enumerate(("trackside", *SERVICES, KEEPER, MAILBOX, MAILBOX_SMTP, "gateway"))},
    database_url="postgresql://postgres@127.0.0.1:5432/postgres",
    nats_url="nats://127.0.0.1:4222",
    redis_url="redis://127.0.0.1:6379/0",
    home=Path("/state"),
    passwords={name: f"{name}-secret" for name in SERVICES},
)


def planned(source: Source = "sim", environ: Mapping[str, str] | None = None, addresses: Addresses = ADDRESSES) -> Plan:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    folder = "/data/jolpica" if source == "recorded" else None
    season = Season(source=source, year=2026, seed=7, pace=120, start=start, recorded=folder)
    return paddock(addresses, season, environ or {})


def child(plan: Plan, name: str) -> Child:
    return next(each for tier in (plan.early, *plan.tiers) for each in tier if each.name == name)


def test_each_service_gets_its_own_role_and_no_other_services_password() -> None:
    for name in SERVICES:
        env = child(planned(), name).env
        assert env["DATABASE_URL"] == f"postgresql://paddock_{name}:{name}-secret@127.0.0.1:5432/postgres"
        others = [other for other in SERVICES if other != name]
        assert not [value for value in env.values() for other in others if f"{other}-secret" in value]


@pytest.mark.parametrize("name", ["gateway", KEEPER])
def test_who_keeps_nothing_gets_no_database(name: str) -> None:
    assert "DATABASE_URL" not in child(planned(), name).env


def test_the_keeper_reads_with_the_operators_credentials() -> None:
    folder = Path("/state/creds")
    plan = planned(addresses=replace(ADDRESSES, nats_credentials=folder))
    assert child(plan, KEEPER).env["NATS_CREDS_FILE"] == "/state/creds/paddock.creds"


def test_an_administrators_url_from_outside_reaches_the_preparation_only() -> None:
    plan = planned(environ={"DATABASE_URL": "postgresql://root:hunter2@db/paddock"})
    assert plan.prepare is not None
    everywhere = [each for tier in (plan.early, *plan.tiers) for each in tier]
    assert not [each.name for each in everywhere if "hunter2" in str(each.env)]


def test_everybody_knows_where_everybody_is() -> None:
    env = child(planned(), "gateway").env
    assert [env[f"{name.upper()}_URL"] for name in SERVICES] == [ADDRESSES.url(name) for name in SERVICES]
    assert env["PORT"] == str(ADDRESSES.ports["gateway"])


def test_a_simulated_season_is_polled_eagerly_from_the_simulator() -> None:
    plan = planned()
    env = child(plan, "ingest").env
    assert env["INGEST_JOLPICA_URL"] == f"{ADDRESSES.url('trackside')}/ergast/f1"
    assert env["INGEST_POLL_SECONDS"] == "1"
    assert env["INGEST_SEASON"] == "2026"
    argv = " ".join(child(plan, "trackside").argv)
    assert "--pace 120 --start 2026-03-01T12:00:00+00:00 --state /state/trackside.json" in argv
    assert argv.endswith("--season 2026 --seed 7")


def test_a_live_season_has_no_simulator_and_polls_as_politely_as_the_service_does_by_itself() -> None:
    plan = planned("live")
    assert [each.name for each in plan.early] == [MAILBOX]
    assert "trackside" not in child_names(Season(source="live", year=2026, seed=1, pace=1, start=datetime.now(UTC)))
    own = {key for key in child(plan, "ingest").env if key.startswith("INGEST_")}
    assert own == {"INGEST_URL", "INGEST_SEASON"}


@pytest.mark.parametrize(("source", "allowed"), [("sim", True), ("recorded", True), ("live", False)])
def test_webhooks_go_to_this_machine_in_a_playground_only(source: Source, *, allowed: bool) -> None:
    env = child(planned(source), "webhooks").env
    assert (env.get("WEBHOOKS_ALLOW_PRIVATE") == "true") is allowed
    assert (env.get("WEBHOOKS_ALLOW_HTTP") == "true") is allowed


@pytest.mark.parametrize(("source", "relaxed"), [("sim", True), ("recorded", True), ("live", False)])
def test_people_of_a_playground_all_come_from_one_address(source: Source, *, relaxed: bool) -> None:
    limits = {name for name in child(planned(source), "auth").env if name.startswith("AUTH_LIMIT_")}
    assert (
        {"AUTH_LIMIT_LOGIN_ADDRESS", "AUTH_LIMIT_LOGIN_ACCOUNT", "AUTH_LIMIT_REGISTER_ADDRESS"} <= limits
    ) is relaxed
    assert bool(limits) is relaxed


def test_a_playground_has_the_limits_that_its_environment_names() -> None:
    given = {"AUTH_LIMIT_LOGIN_ADDRESS": "3/60"}
    assert child(planned(environ=given), "auth").env["AUTH_LIMIT_LOGIN_ADDRESS"] == "3/60"


def test_a_recorded_season_comes_from_its_folder() -> None:
    argv = " ".join(child(planned("recorded"), "trackside").argv)
    assert argv.endswith("--season 2026 --recorded /data/jolpica")
    assert "--seed" not in argv


@pytest.mark.parametrize("source", ["sim", "live", "recorded"])
def test_letters_go_to_the_mailbox_and_their_links_to_the_gateway(source: Source) -> None:
    plan = planned(source)
    env, argv = child(plan, "auth").env, child(plan, MAILBOX).argv
    smtp = str(ADDRESSES.ports[MAILBOX_SMTP])
    assert (env["AUTH_SMTP_HOST"], env["AUTH_SMTP_PORT"]) == ("127.0.0.1", smtp)
    assert argv[-4:] == ("--port", str(ADDRESSES.ports[MAILBOX]), "--smtp-port", smtp)
    assert env["AUTH_LINK_URL"] == ADDRESSES.url("gateway")


def test_letters_go_to_another_server_when_the_environment_names_one() -> None:
    given = {"AUTH_SMTP_HOST": "smtp.example", "AUTH_SMTP_PORT": "587", "AUTH_LINK_URL": "https://play.example"}
    env = child(planned(environ=given), "auth").env
    assert {name: env[name] for name in given} == given


@pytest.mark.parametrize("name", ["auth", "trackside", "gateway"])
def test_children_inherit_the_environment_of_the_run(name: str) -> None:
    assert child(planned(environ={"LOG_LEVEL": "DEBUG"}), name).env["LOG_LEVEL"] == "DEBUG"
