"""What was published stays readable: the corpus, the frozen releases, and the code of the release before."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from common.contracts import REGISTRY, Envelope, check_type, decode, encode, split
from common.contracts.samples import SAMPLES
from paddock import compat, releases

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / releases.CORPUS
STORED = sorted(CORPUS.rglob("*.json"))
GIT_SECONDS = 30
INSTALL_SECONDS = 300

READ = """
import json, sys
from common.contracts import REGISTRY, decode
for subject, body in json.load(sys.stdin).items():
    kind = REGISTRY.get(subject)
    if kind is not None:
        decode(kind, json.dumps(body).encode())
        print(subject)
"""
"""What a consumer of the release before does with an event: it decodes those it knows."""


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=GIT_SECONDS).stdout  # noqa: S603 - constants


@pytest.fixture
def repository() -> Path:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git history here: this is not a clone")
    return ROOT


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.relative_to(CORPUS).as_posix())
def test_every_stored_sample_parses_in_the_code_of_now(file: Path) -> None:
    stored = json.loads(file.read_text(encoding="utf-8"))
    kind, headers = REGISTRY[stored["subject"]], stored["headers"]
    envelope = Envelope(
        id=headers["ce-id"],
        type=headers["ce-type"],
        source=headers["ce-source"],
        subject=headers["ce-subject"],
        time=headers["ce-time"],
    )
    check_type(envelope, kind)
    event = decode(kind, json.dumps(stored["body"]).encode())
    assert event.key() == envelope.subject
    name, version = split(stored["subject"])
    assert file.relative_to(CORPUS).parts[:2] == (name, f"v{version}")


def test_every_published_version_has_a_stored_sample() -> None:
    published = {
        subject for file in releases.releases(ROOT) for subject in json.loads(file.read_text(encoding="utf-8"))
    }
    stored = {json.loads(file.read_text(encoding="utf-8"))["subject"] for file in STORED}
    assert published
    assert published <= stored


def test_the_corpus_is_what_its_manifest_says() -> None:
    lines = (CORPUS / releases.SUMS).read_text(encoding="utf-8").splitlines()
    assert {name: digest for digest, name in (line.split("  ") for line in lines)} == releases.sums(ROOT)


def changed_since(folder: Path, *paths: str) -> list[str]:
    """Name the files that a commit, or the working tree, has changed or removed after they were added."""
    by_commits = git(folder, "log", "--no-renames", "--diff-filter=MD", "--name-only", "--format=", "--", *paths)
    by_hand = git(folder, "diff", "HEAD", "--no-renames", "--diff-filter=MD", "--name-only", "--", *paths)
    return sorted({*by_commits.split(), *by_hand.split()})


def test_no_stored_sample_and_no_release_was_ever_changed_or_removed(repository: Path) -> None:
    samples = f":(glob){releases.CORPUS}/**/*.json"
    assert changed_since(repository, samples, f":(glob){releases.RELEASES}/*.json") == []


def test_a_changed_sample_would_be_noticed_committed_or_not(tmp_path: Path) -> None:
    sample = tmp_path / releases.CORPUS / "race.finished/v1/1.0.0.json"
    sample.parent.mkdir(parents=True)
    sample.write_text("{}\n")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    assert changed_since(tmp_path, str(releases.CORPUS)) == []
    sample.write_text('{"winner": "other"}\n')
    assert changed_since(tmp_path, str(releases.CORPUS)) == [sample.relative_to(tmp_path).as_posix()]
    commit(tmp_path)
    assert changed_since(tmp_path, str(releases.CORPUS)) == [sample.relative_to(tmp_path).as_posix()]


def commit(folder: Path) -> None:
    git(folder, "add", ".")
    who = ["-c", "user.name=Paddock", "-c", "user.email=paddock@example.org", "-c", "commit.gpgsign=false"]
    git(folder, *who, "commit", "-q", "-m", "A release")


def test_nothing_breaks_the_promise_of_the_last_release() -> None:
    assert releases.check(ROOT)[1] == []


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.subject)
def test_an_event_of_now_fits_the_schema_of_every_release(sample: Any) -> None:
    for file in releases.releases(ROOT):
        promised = json.loads(file.read_text(encoding="utf-8"))
        if sample.subject in promised:
            jsonschema.validate(json.loads(encode(sample)), promised[sample.subject]["schema"])


def test_a_release_freezes_snapshot_and_samples_once(tmp_path: Path) -> None:
    written = releases.release(tmp_path, "1.0.0")
    assert len(written) == 1 + len(SAMPLES)
    assert releases.check(tmp_path) == ("1.0.0", [])
    assert len((tmp_path / releases.CORPUS / releases.SUMS).read_text().splitlines()) == len(SAMPLES)
    for version, words in [("1.0.0", "never written again"), ("0.9.0", "not newer"), ("2.0", "three numbers")]:
        with pytest.raises(releases.ReleaseError, match=words):
            releases.release(tmp_path, version)
    releases.release(tmp_path, "1.10.0")
    releases.release(tmp_path, "1.11.0")
    assert [file.stem for file in releases.releases(tmp_path)] == ["1.0.0", "1.10.0", "1.11.0"]


def test_a_release_that_breaks_the_last_one_is_refused(tmp_path: Path) -> None:
    releases.release(tmp_path, "1.0.0")
    file = tmp_path / releases.RELEASES / "1.0.0.json"
    promised = json.loads(file.read_text())
    promised["race.finished"]["schema"]["properties"]["pole"] = {"type": "string"}
    file.write_text(json.dumps(promised))
    with pytest.raises(releases.ReleaseError, match="field `pole` removed"):
        releases.release(tmp_path, "1.1.0")
    assert [file.stem for file in releases.releases(tmp_path)] == ["1.0.0"]


def paddock(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paddock", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)  # noqa: S603 - constants


def test_the_command_fails_with_the_field_and_the_rule(tmp_path: Path) -> None:
    assert "no release is frozen" in paddock(tmp_path, "events", "compat").stderr
    assert paddock(tmp_path, "events", "release", "1.0.0").returncode == 0
    fine = paddock(tmp_path, "events", "compat")
    assert (fine.returncode, fine.stderr) == (0, "")
    file = tmp_path / releases.RELEASES / "1.0.0.json"
    promised = json.loads(file.read_text())
    promised["race.finished"]["schema"]["properties"]["winner"]["type"] = "integer"
    file.write_text(json.dumps(promised))
    refused = paddock(tmp_path, "events", "compat")
    assert refused.returncode == 1
    assert "race.finished: field `winner` changed from integer to string: a type stays as it is" in refused.stderr


def last_tag(folder: Path) -> str | None:
    """Return the newest tag that names a version, or nothing before the first release."""
    tags = git(folder, "tag", "--list", "v[0-9]*", "--sort=-version:refname").split()
    return tags[0] if tags else None


def read_by_release(repository: Path, tag: str, scratch: Path, events: dict[str, Any]) -> list[str]:
    """Install `common` of a tag into an environment of its own, let it decode events, return those that it knew."""
    archive = scratch / "common.tar"
    git(repository, "archive", "--output", str(archive), tag, "libs/common")
    shutil.unpack_archive(archive, scratch / "source")
    uv = str(Path(sys.executable).with_name("uv"))
    for arguments in (
        ["venv", "--quiet", "--python", sys.executable, str(scratch / "venv")],
        ["pip", "install", "--quiet", "--python", str(scratch / "venv"), str(scratch / "source/libs/common")],
    ):
        subprocess.run([uv, *arguments], check=True, capture_output=True, timeout=INSTALL_SECONDS)  # noqa: S603 - constants
    reader = [str(scratch / "venv/bin/python"), "-c", READ]
    text = json.dumps(events)
    done = subprocess.run(reader, input=text, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)  # noqa: S603 - constants
    if done.returncode:
        raise AssertionError(done.stderr.splitlines()[-1])
    return done.stdout.split()


@pytest.mark.timeout(INSTALL_SECONDS + 60)
def test_what_is_published_now_parses_in_the_code_of_the_release_before(repository: Path, tmp_path: Path) -> None:
    tag = last_tag(repository)
    if tag is None:
        pytest.skip("no release has been tagged yet: there is no code before this one")
    events = {sample.subject: json.loads(encode(sample)) for sample in SAMPLES}
    assert read_by_release(repository, tag, tmp_path, events)


@pytest.mark.timeout(INSTALL_SECONDS + 60)
def test_the_code_of_a_tag_reads_what_it_can_and_says_what_it_cannot(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    skipped = shutil.ignore_patterns("__pycache__", "tests", "*.egg-info")
    shutil.copytree(ROOT / "libs/common", folder / "libs/common", ignore=skipped)
    git(folder, "init", "-q")
    commit(folder)
    assert last_tag(folder) is None
    for tag in ("v0.9.0", "v0.10.0", "other"):
        git(folder, "tag", tag)
    assert last_tag(folder) == "v0.10.0"
    events = {sample.subject: json.loads(encode(sample)) for sample in SAMPLES}
    later = events | {"pit.stopped": {"lap": 14}}
    later["race.finished"] = later["race.finished"] | {"added_later": True}
    assert sorted(read_by_release(folder, "v0.10.0", tmp_path, later)) == sorted(events)
    (tmp_path / "again").mkdir()
    del later["race.finished"]["winner"]
    with pytest.raises(AssertionError, match="missing required field `winner`"):
        read_by_release(folder, "v0.10.0", tmp_path / "again", later)


def test_the_check_reads_both_snapshots_as_files_do() -> None:
    stored = json.loads(json.dumps(releases.snapshot()))
    assert compat.breaks(stored, releases.snapshot()) == []
