"""What we ship is known and pinned: bills of materials, hashes in the lock, verdicts of the audit, no workflow."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PINNED = re.compile(r"([a-z0-9][a-z0-9._-]*)(?:\[[a-z0-9,_-]+\])?==([A-Za-z0-9.+!]+)(?: ; [^\\]+)?")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
PLACES = re.compile(
    r"https?://(?!cyclonedx\.org/schema/)|file:|pypi\.org|(?<![a-z])/(?:home|work|tmp|usr|root|opt|var)/"
)


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"supply_{name}", ROOT / f"deploy/supply/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
SBOM, AUDIT = script("sbom"), script("audit")


def read_lock(text: str) -> dict[tuple[str, str], set[str]]:
    """Read a lock into hashes by name and version; raise `ValueError` for a line that is not pinned and hashed."""
    found: dict[tuple[str, str], set[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        requirement, *options = re.split(r"\s+(?=--)", line.strip())
        pin = PINNED.fullmatch(requirement.strip())
        hashes = [HASH.fullmatch(option.strip()) for option in options]
        if not pin or not hashes or not all(hashes):
            raise ValueError(requirement)
        found[pin[1], pin[2]] = {match[1] for match in hashes if match}
    return found


def malformed(bill: dict[str, Any]) -> str | None:
    """Say why a bill is not CycloneDX; `make sbom` asks the same of each, which takes a second."""
    fault = VALIDATOR.validate_str(json.dumps(bill))
    return str(fault) if fault else None


def faults(bill: dict[str, Any], lock: dict[tuple[str, str], set[str]]) -> list[str]:
    """Say what is wrong with what a bill tells."""
    text = json.dumps(bill)
    found = [f"names a place: {match[0]}" for match in PLACES.finditer(text)]
    own = {part["name"] for part in bill["components"] if part["name"].startswith("paddock-")}
    told = {
        (part["name"], part["version"]): {
            given["content"] for reference in part["externalReferences"] for given in reference["hashes"]
        }
        for part in bill["components"]
        if part["name"] not in own
    }
    found += [f"lacks {name}" for name, _ in lock.keys() - told.keys()]
    found += [f"has {name}, which is not locked" for name, _ in told.keys() - lock.keys()]
    found += [f"other hashes of {key[0]}" for key in told.keys() & lock.keys() if told[key] != lock[key]]
    root = bill["metadata"]["component"]["bom-ref"]
    depends = {entry["ref"]: set(entry.get("dependsOn", [])) for entry in bill["dependencies"]}
    found += ["the root needs something else"] if depends[root] != depends.keys() - {root} else []
    return found


@pytest.fixture(scope="module")
def auth_bill() -> dict[str, Any]:
    made: dict[str, Any] = SBOM.bill("auth")
    return made


def test_every_requirement_of_every_lock_is_pinned_and_hashed() -> None:
    locks = {file.stem: read_lock(file.read_text(encoding="utf-8")) for file in LOCKS}
    assert len(locks) > 10
    assert all(locks.values())
    assert {name for name, lock in locks.items() if any(not hashes for hashes in lock.values())} == set()


@pytest.mark.parametrize(
    "line",
    [
        "idna==3.20",
        "idna>=3.20 \\\n    --hash=sha256:" + "0" * 64,
        "idna==3.20 \\\n    --hash=md5:" + "0" * 32,
        "-e libs/common",
        "--index-url https://packages.example/simple",
        "idna @ https://packages.example/idna.whl --hash=sha256:" + "0" * 64,
    ],
)
def test_a_requirement_without_pin_or_hash_is_found(line: str) -> None:
    with pytest.raises(ValueError, match=r"idna|-e|--index-url"):
        read_lock(line)


def test_every_deployable_of_the_makefile_has_a_lock_and_a_bill() -> None:
    listed = re.search(r"^DEPLOYABLES := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed
    assert SBOM.deployables() == sorted(listed[1].split())


@pytest.mark.parametrize("deployable", SBOM.deployables())
def test_a_bill_names_every_locked_package_with_version_and_hashes_and_no_place(deployable: str) -> None:
    lock = read_lock((ROOT / f"requirements/{deployable}.txt").read_text(encoding="utf-8"))
    assert faults(SBOM.bill(deployable), lock) == []


def test_a_bill_is_cyclonedx(auth_bill: dict[str, Any]) -> None:
    assert malformed(auth_bill) is None
    assert "bomFormat" in str(malformed({key: value for key, value in auth_bill.items() if key != "bomFormat"}))


def test_a_bill_names_our_own_packages_and_is_the_same_twice(auth_bill: dict[str, Any]) -> None:
    assert auth_bill["metadata"]["component"]["name"] == "paddock-auth"
    assert "paddock-common" in {part["name"] for part in auth_bill["components"]}
    assert SBOM.bill("auth") == auth_bill


def test_a_bill_that_lacks_a_package_or_names_a_machine_is_found(auth_bill: dict[str, Any]) -> None:
    lock = read_lock((ROOT / "requirements/auth.txt").read_text(encoding="utf-8"))
    assert faults(auth_bill, lock | {("left-pad", "1.0"): set()}) == ["lacks left-pad"]
    spoilt = json.loads(json.dumps(auth_bill))
    spoilt["components"][-1]["externalReferences"][0]["url"] = "https://packages.example/simple/"
    assert "names a place: https://" in faults(spoilt, lock)


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(packages), "fixes": []})


GOOD: dict[str, Any] = {"name": "idna", "version": "3.20", "vulns": []}
BAD: dict[str, Any] = {"name": "jinja2", "version": "3.1.0", "vulns": [{"id": "CVE-1-1", "fix_versions": ["3.1.6"]}]}
UNASKED: dict[str, Any] = {"name": "anyio", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        (report(GOOD), 0, "1 packages, nothing known"),
        (report(GOOD, BAD), 1, "jinja2 3.1.0: CVE-1-1, fixed in 3.1.6"),
        (report(BAD, UNASKED), 1, "fixed in 3.1.6"),
        (report(GOOD, UNASKED), 3, "does not know 1 of 2"),
        (report(), 3, ""),
        ("", 3, "not audited"),
    ],
)
def test_only_an_answer_about_every_package_is_a_clean_bill(told: str, code: int, words: str) -> None:
    judged, lines = AUDIT.judged(told, "ConnectionError: no route to the service")
    assert judged == code
    assert words in "\n".join(lines)


def test_there_is_no_workflow_of_a_hosting_service_that_could_leak_a_secret() -> None:
    """`zizmor` judges GitHub workflows; we have none, and whoever adds one adds the check to `make check`."""
    assert not (ROOT / ".github").exists()
    assert not list(ROOT.glob(".gitlab-ci.*"))
