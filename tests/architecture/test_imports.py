"""The import contracts hold, and each of them can fail."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "common": "libs/common/src",
    "auth": "services/auth/src",
    "ingest": "services/ingest/src",
    "leagues": "services/leagues/src",
    "scoring": "services/scoring/src",
    "analytics": "services/analytics/src",
    "webhooks": "services/webhooks/src",
    "gateway": "gateway/src",
    "trackside": "tools/trackside/src",
    "paddock_mailbox": "tools/mailbox/src",
    "devstack": "tools/devstack/src",
    "paddock": "tools/paddock/src",
}

VIOLATIONS = {
    "services-apart": ("leagues/domain.py", "import scoring.domain"),
    "common-below": ("common/clock.py", "import leagues.domain"),
    "trackside-alone": ("trackside/clock.py", "import common.clock"),
    "mailbox-alone": ("paddock_mailbox/clock.py", "import common.clock"),
    "contracts-pure": ("common/contracts/auth.py", "import common.db"),
    "layers-auth": ("auth/models.py", "import auth.routes"),
    "layers-ingest": ("ingest/models.py", "import ingest.routes"),
    "layers-leagues": ("leagues/models.py", "import leagues.routes"),
    "layers-scoring": ("scoring/models.py", "import scoring.routes"),
    "layers-analytics": ("analytics/models.py", "import analytics.routes"),
    "layers-webhooks": ("webhooks/models.py", "import webhooks.routes"),
}


def lint(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as c; c()"]
    arguments = [part for contract in contracts for part in ("--contract", contract)]
    paths = [str(folder / source) for source in SOURCES.values()] if folder == ROOT else [str(folder)]
    return subprocess.run(  # noqa: S603 - our own interpreter
        [*command, "--config", str(ROOT / ".importlinter"), "--no-cache", *arguments],
        cwd=folder,
        env={"PYTHONPATH": ":".join(paths), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def contracts() -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return {section.rsplit(":", 1)[1] for section in parser.sections() if section.startswith("importlinter:contract:")}


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    for package, source in SOURCES.items():
        shutil.copytree(ROOT / source / package, folder / package)
    return folder


def test_the_house_keeps_its_import_contracts() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


def test_every_contract_has_a_violation_that_shows_it_can_fail() -> None:
    assert set(VIOLATIONS) == contracts()


@pytest.mark.parametrize("contract", sorted(VIOLATIONS))
def test_a_violated_contract_fails(contract: str, copies: Path) -> None:
    name, statement = VIOLATIONS[contract]
    file = copies / name
    before = file.read_text(encoding="utf-8") if file.exists() else None
    file.write_text(f"{before or ''}\n{statement}\n", encoding="utf-8")
    try:
        result = lint(copies, contract)
    finally:
        file.unlink() if before is None else file.write_text(before, encoding="utf-8")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout
