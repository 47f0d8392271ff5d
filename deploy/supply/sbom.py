# noqa: INP001 - a script of its own, run by `make sbom`
"""Write a CycloneDX bill of materials for each deployable, from its locked requirements.

A bill names every package with its version and the hashes of the files that may be installed, and the packages of
this repository. It is the same, byte for byte, for the same lock, and names no machine and no package index: where a
package comes from is the business of whoever builds. Argument: the folder to write to.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "requirements"
NOT_DEPLOYED = {"build", "dev"}
SECONDS = 60
OURS = "paddock-"

Part = dict[str, Any]


def deployables() -> list[str]:
    """Name whatever has locked requirements and is put into production or run by a user."""
    return sorted({file.stem for file in FOLDER.glob("*.txt")} - NOT_DEPLOYED)


def members() -> dict[str, tuple[Path, Part]]:
    """Find the packages of this repository: folder and project table by name."""
    found = {}
    for pattern in ("libs/*", "services/*", "gateway", "tools/*"):
        for file in ROOT.glob(f"{pattern}/pyproject.toml"):
            project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
            found[project["name"]] = (file.parent, project)
    return found


def bill(deployable: str) -> Part:
    """Make the bill of one deployable."""
    known = members()
    folder, _ = known[OURS + deployable]
    made = _told_by_tool(FOLDER / f"{deployable}.txt", folder / "pyproject.toml")
    own = sorted(_needed(OURS + deployable, known) - {OURS + deployable})
    markers = {part["bom-ref"] for part in made["components"] if " ; " in part["description"].partition("--hash")[0]}
    components = [_component(part, optional=part["bom-ref"] in markers) for part in made["components"]]
    components += [_own(known[name][1]) for name in own]
    components.sort(key=lambda part: str(part["bom-ref"]))
    root = _own(known[OURS + deployable][1]) | {"type": "application"}
    tools = [
        {name: tool[name] for name in ("type", "name", "version")} for tool in made["metadata"]["tools"]["components"]
    ]
    made["components"] = components
    made["metadata"] = {"component": root, "tools": {"components": tools}}
    made["dependencies"] = [
        {"ref": root["bom-ref"], "dependsOn": [part["bom-ref"] for part in components]},
        *({"ref": part["bom-ref"]} for part in components),
    ]
    return made


def _told_by_tool(requirements: Path, project: Path) -> Part:
    command = [
        "-m",
        "cyclonedx_py",
        "requirements",
        "--output-reproducible",
        "--no-validate",
        "--of",
        "JSON",
        "--sv",
        "1.6",
    ]
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "ignore", *command, "--pyproject", str(project), str(requirements)],
        capture_output=True,
        check=True,
        timeout=SECONDS,
        text=True,
    )
    told: Part = json.loads(done.stdout)
    return told


def _component(part: Part, *, optional: bool) -> Part:
    """Keep what identifies a package; one that only some platforms install is optional."""
    hashes = [given for reference in part["externalReferences"] for given in reference["hashes"]]
    return {
        "type": part["type"],
        "bom-ref": part["purl"],
        "name": part["name"],
        "version": part["version"],
        "purl": part["purl"],
        "scope": "optional" if optional else "required",
        "externalReferences": [{"type": "distribution", "url": part["purl"], "hashes": hashes}],
    }


def _own(project: Part) -> Part:
    name, version = project["name"], project["version"]
    licences = [{"license": {"id": project.get("license", "Apache-2.0")}}]
    return {"type": "library", "bom-ref": f"{name}@{version}", "name": name, "version": version, "licenses": licences}


def _needed(name: str, known: dict[str, tuple[Path, Part]]) -> set[str]:
    """Name the member and every member that it needs."""
    wanted = {known_name for known_name in known[name][1].get("dependencies", []) if known_name in known}
    return {name}.union(*(_needed(other, known) for other in wanted))


def main() -> None:
    """Write every bill."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    for deployable in deployables():
        made = bill(deployable)
        text = json.dumps(made, indent=2, sort_keys=True) + "\n"
        if fault := validator.validate_str(text):
            sys.exit(f"the bill of {deployable} is not CycloneDX: {fault}")
        (folder / f"{deployable}.cdx.json").write_text(text, encoding="utf-8")
        sys.stdout.write(f"{deployable}: {len(made['components'])} components\n")


if __name__ == "__main__":
    main()
