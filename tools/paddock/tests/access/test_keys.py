"""The folder of keys: made once, kept, signed again when the code asks for other permissions."""

import base64
import json
import stat
import sys
from pathlib import Path

import nkeys
import pytest

from common import migrate
from paddock import nats_command
from paddock.__main__ import main
from paddock.nats_authority import Authority, FolderError, Permissions
from paddock.nats_keys import Key, KeyBrokenError, claims_of, from_credentials


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_making_the_folder_twice_changes_nothing(tmp_path: Path) -> None:
    first = nats_command.init(tmp_path / "auth")
    before = contents(tmp_path / "auth")
    second = nats_command.init(tmp_path / "auth")
    assert contents(tmp_path / "auth") == before
    assert "scoring: made" in first
    assert all(line.endswith("kept") for line in second)


def test_there_are_credentials_for_every_deployable(tmp_path: Path) -> None:
    nats_command.init(tmp_path / "auth")
    made = {file.stem for file in (tmp_path / "auth" / "creds").iterdir()}
    assert made == {*migrate.SERVICES, "gateway", "paddock", "system"}


def test_secrets_are_for_their_owner_alone_and_the_servers_part_holds_none(tmp_path: Path) -> None:
    nats_command.init(tmp_path / "auth")
    for file in [*(tmp_path / "auth" / "keys").iterdir(), *(tmp_path / "auth" / "creds").iterdir()]:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE((tmp_path / "auth" / "keys").stat().st_mode) == 0o700
    conf = (tmp_path / "auth" / "server" / "nats-auth.conf").read_text()
    for file in (tmp_path / "auth" / "keys").glob("*.nk"):
        assert file.read_text().strip() not in conf


def test_other_permissions_are_signed_for_the_same_key(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "auth")
    authority.prepare()
    authority.issue("scoring", Permissions(("race.scored",), ("_INBOX_scoring.>",)))
    before = from_credentials(authority.credentials_of("scoring").read_text())
    assert authority.issue("scoring", Permissions(("race.*",), ("_INBOX_scoring.>",))) == "scoring: signed again"
    after = from_credentials(authority.credentials_of("scoring").read_text())
    assert after[1].public == before[1].public
    assert claims_of(after[0])["nats"]["pub"] == {"allow": ["race.*"]}


def test_a_renewed_user_has_another_key_and_a_revocation_stays(tmp_path: Path) -> None:
    nats_command.init(tmp_path / "auth")
    authority = Authority.found(tmp_path / "auth")
    old = authority.renew("scoring")
    token = authority.revoke(old, 1_800_000_000)
    nats_command.init(tmp_path / "auth")
    assert from_credentials(authority.credentials_of("scoring").read_text())[1].public != old
    assert claims_of(token)["nats"]["revocations"] == {old: 1_800_000_000}
    assert token in authority.conf.read_text()


def test_each_user_can_have_a_folder_of_its_own_to_be_mounted(tmp_path: Path) -> None:
    nats_command.init(tmp_path / "auth", apart=True)
    assert (tmp_path / "auth" / "creds" / "scoring" / "nats.creds").exists()
    assert Authority.found(tmp_path / "auth").credentials_of("paddock").parent.name == "paddock"


def test_tokens_are_signed_by_whom_they_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "auth")
    authority.prepare()
    token, _ = from_credentials(authority.credentials_of("paddock").read_text())
    account = Key((tmp_path / "auth" / "keys" / "account.nk").read_text().strip())
    signed, _, signature = token.rpartition(".")
    pair = nkeys.from_seed(bytearray(account.seed.encode()))
    assert pair.verify(signed.encode(), base64.urlsafe_b64decode(signature + "=="))
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header == {"alg": "ed25519-nkey", "typ": "JWT"}
    assert claims_of(token)["iss"] == account.public


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    nats_command.init(tmp_path / "auth")
    (tmp_path / "auth" / "creds" / "scoring.creds").write_text("nothing")
    with pytest.raises(FolderError, match=r"scoring\.creds is not a NATS credentials file"):
        nats_command.init(tmp_path / "auth")
    with pytest.raises(KeyBrokenError):
        Key("SUNOTASEED")
    with pytest.raises(FolderError, match="paddock nats init"):
        Authority.found(tmp_path / "nowhere")


def test_the_command_tells_what_it_made_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["paddock", "nats", "init", str(tmp_path / "auth")])
    main()
    told = capsys.readouterr()
    assert "gateway: made" in told.out
    for file in (tmp_path / "auth" / "keys").glob("*.nk"):
        assert file.read_text().strip() not in told.out + told.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["subscribers", "add", "Race Bot", "--subjects", "race.>"], "is no name"),
        (["subscribers", "add", "race-bot", "--subjects", "nothing.>"], "no event has the subject"),
        (["nats", "renew", "nobody"], "nobody is no user"),
        (["subscribers", "list"], "did not let paddock in"),
    ],
)
def test_what_cannot_be_done_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    nats_command.init(tmp_path / "auth")
    monkeypatch.setenv("PADDOCK_NATS_DIR", str(tmp_path / "auth"))
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setattr(sys, "argv", ["paddock", *arguments])
    with pytest.raises(SystemExit, match=told) as ended:
        main()
    assert "\n" not in str(ended.value.code)
