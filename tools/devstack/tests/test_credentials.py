"""Who is known to NATS by which file, in a plan and in a stack."""

from pathlib import Path

from common import clock
from devstack import plan
from devstack.plan import Addresses
from devstack.season import Wish
from devstack.stack import Stack

NAMES = ("trackside", *plan.SERVICES, "keeper", plan.MAILBOX, plan.MAILBOX_SMTP, "gateway")


def planned(keys: Path | None, credentials: Path | None) -> plan.Plan:
    addresses = Addresses(
        ports={name: 9000 + number for number, name in enumerate(NAMES)},
        database_url="postgresql://root@127.0.0.1:5432/paddock",
        nats_url="nats://127.0.0.1:4222",
        redis_url="redis://127.0.0.1:6379/0",
        passwords=dict.fromkeys(plan.SERVICES, "secret"),
        home=Path("state"),
        nats_keys=keys,
        nats_credentials=credentials,
    )
    return plan.paddock(addresses, Wish().season(clock.now()), {})


def files(made: plan.Plan) -> dict[str, str | None]:
    children = [child for tier in made.tiers for child in tier] + ([made.prepare] if made.prepare else [])
    return {child.name: child.env.get("NATS_CREDS_FILE") for child in children}


def test_each_child_is_given_the_credentials_of_its_own_user(tmp_path: Path) -> None:
    made = planned(tmp_path, tmp_path / "creds")
    given = files(made)
    for name in (*plan.SERVICES, "gateway"):
        assert given[name] == str(tmp_path / "creds" / f"{name}.creds")
    assert given["migrate"] == str(tmp_path / "creds" / "paddock.creds")
    assert made.credentials is not None
    assert made.credentials.argv[-3:] == ("nats", "init", str(tmp_path))


def test_a_foreign_nats_is_used_with_the_folder_that_is_named_and_its_keys_are_not_ours(tmp_path: Path) -> None:
    made = planned(None, tmp_path)
    assert files(made)["scoring"] == str(tmp_path / "scoring.creds")
    assert made.credentials is None


def test_where_nats_lets_everybody_in_nobody_is_given_credentials() -> None:
    assert set(files(planned(None, None)).values()) == {None}


def test_a_stack_knows_the_folder_for_a_foreign_nats(tmp_path: Path) -> None:
    environ = {"NATS_URL": "nats://127.0.0.1:1", "NATS_CREDS_DIR": str(tmp_path / "given")}
    stack = Stack(tmp_path / "state", environ=environ)
    assert stack._credentials_folder(embedded=False) == (tmp_path / "given").resolve()
    assert Stack(tmp_path / "other", environ={})._credentials_folder(embedded=False) is None
