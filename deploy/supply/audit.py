# noqa: INP001 - a script of its own, run by `make audit`
"""Ask an advisory service about every locked package of every deployable.

It needs the network, so it is no part of `make check`. Exit codes: 0 nothing known against any of them, 1 there is
something, 3 it could not be asked about all of them, which is no clean bill. Arguments are passed on to pip-audit
(``-s osv`` asks another service, ``--ignore-vuln ID`` lets one pass).
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "requirements"
CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3
SECONDS = 600


def judged(report: str, complaint: str) -> tuple[int, list[str]]:
    """Read pip-audit's report: the exit code and what to say.

    A package that the service does not know is skipped by pip-audit, with exit code 0; here it is one that nobody has
    looked at.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        reason = complaint.strip().splitlines()[-1:] or ["it said nothing"]
        return UNKNOWN, [f"not audited, the advisory service gave no answer: {reason[0]}"]
    known = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'nothing'}"
        for package in packages
        for flaw in package.get("vulns", [])
    ]
    skipped = sorted(package["name"] for package in packages if "skip_reason" in package)
    if skipped:
        known.append(f"not audited, the advisory service does not know {len(skipped)} of {len(packages)} packages")
    if any("fixed in" in line for line in known):
        return VULNERABLE, known
    return (UNKNOWN, known) if skipped or not packages else (CLEAN, [f"{len(packages)} packages, nothing known"])


def asked(files: list[Path], options: list[str]) -> tuple[int, list[str]]:
    """Let pip-audit ask about files; nothing is resolved or installed."""
    every = [part for file in files for part in ("-r", str(file))]
    fixed = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "-f", "json", "--desc", "off"]
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "pip_audit", *fixed, *every, *options],
        capture_output=True,
        check=False,
        timeout=SECONDS,
        text=True,
    )
    return judged(done.stdout, done.stderr)


def main() -> None:
    """Audit what is deployed and what developers run; a service that does not know the first few is asked no more."""
    code, lines = asked([FOLDER / "build.txt"], sys.argv[1:])
    if code != UNKNOWN:
        code, lines = asked(sorted(FOLDER.glob("*.txt")), sys.argv[1:])
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.exit(code)


if __name__ == "__main__":
    main()
