"""Releases of the published language: frozen snapshots of every event, and the corpus of stored samples.

A snapshot holds what was promised, to compare with; the corpus holds what was published, to be read for ever. Neither
is written a second time.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec

from common.contracts import encode, schema_of, split, type_of
from common.contracts.samples import SAMPLES
from common.contracts.schemas import json_schema
from paddock import compat
from paddock.asyncapi import headers

RELEASES = Path("docs/events/releases")
CORPUS = Path("tests/contract/corpus")
SUMS = "SHA256SUMS"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class ReleaseError(Exception):
    """A snapshot cannot be made or read, for the reason given."""


def snapshot() -> dict[str, Any]:
    """Return what is promised now: for each subject its attributes, key, schema and sample."""
    return {
        sample.subject: {
            "type": type_of(sample.subject),
            "source": f"/paddock/{sample.source}",
            "dataschema": schema_of(sample.subject),
            "key": sample.key(),
            "sample": msgspec.json.decode(encode(sample)),
            "schema": json_schema(type(sample)),
        }
        for sample in sorted(SAMPLES, key=lambda sample: sample.subject)
    }


def releases(root: Path) -> list[Path]:
    """Return the frozen snapshots below ``root``, oldest first."""
    return sorted((root / RELEASES).glob("*.json"), key=lambda file: _number(file.stem))


def check(root: Path) -> tuple[str, list[str]]:
    """Compare what is published now with the last release; return its version and a sentence for each broken promise.

    Raises:
        ReleaseError: there is no release to compare with.
    """
    past = releases(root)
    if not past:
        raise ReleaseError(f"no release is frozen in {RELEASES}; make one with: paddock events release VERSION")
    promised = json.loads(past[-1].read_text(encoding="utf-8"))
    return past[-1].stem, compat.breaks(promised, snapshot())


def release(root: Path, version: str) -> list[Path]:
    """Freeze what is promised now as ``version``, and put its samples into the corpus; return the new files.

    Raises:
        ReleaseError: the version is no ``X.Y.Z``, is not newer than the last one, or would break its promise.
    """
    number = _number(version)
    if releases(root):
        last, broken = check(root)
        if number <= _number(last):
            raise ReleaseError(f"{version} is not newer than {last}, and a release is never written again")
        if broken:
            raise ReleaseError("\n".join(broken))
    files = {root / RELEASES / f"{version}.json": snapshot()}
    for sample in SAMPLES:
        name, major = split(sample.subject)
        body = msgspec.json.decode(encode(sample))
        stored = {"subject": sample.subject, "headers": headers(sample), "body": body}
        files[root / CORPUS / name / f"v{major}" / f"{version}.json"] = stored
    for file, content in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_sums(root)
    return list(files)


def sums(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the corpus, by its path below the corpus."""
    folder = root / CORPUS
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.json"))
    }


def write_sums(root: Path) -> None:
    """Write the manifest of the corpus, in the form that `sha256sum --check` reads."""
    lines = [f"{digest}  {name}\n" for name, digest in sums(root).items()]
    (root / CORPUS / SUMS).write_text("".join(lines), encoding="utf-8")


def _number(version: str) -> tuple[int, ...]:
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ReleaseError(f"{version} is no version; it is three numbers, as in 1.4.0")
    return tuple(int(part) for part in found.groups())
