"""The generator of FastStream applications: what it writes, what it leaves alone, what it refuses."""

import copy
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import yaml

from common.contracts import REGISTRY, encode, type_of
from common.contracts.samples import SAMPLES
from paddock import documents, subscriber_app

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/asyncapi.yaml"
EVERYTHING = ",".join(f"{root}.>" for root in sorted({subject.split(".")[0] for subject in REGISTRY}))
SECONDS = 60


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    return found


def generated(folder: Path, subjects: str) -> list[str]:
    return [file.name for file in subscriber_app.main([str(DOCUMENT), "--subjects", subjects, "--output", str(folder)])]


def loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("generated_models", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generated_models"] = module  # msgspec resolves annotations there
    spec.loader.exec_module(module)
    return module


def test_the_committed_application_is_what_the_generator_writes(tmp_path: Path) -> None:
    generated(tmp_path, ",".join(documents.EXAMPLE_SUBJECTS))
    committed = {file.name: file.read_text() for file in (ROOT / documents.EXAMPLE).iterdir() if file.is_file()}
    assert committed == {file.name: file.read_text() for file in tmp_path.iterdir()}


def test_the_models_read_every_event_and_write_it_again(tmp_path: Path) -> None:
    generated(tmp_path, EVERYTHING)
    models = loaded(tmp_path / "models.py")
    for sample in SAMPLES:
        body = encode(sample)
        event = msgspec.json.decode(body, type=getattr(models, type(sample).__name__))
        assert json.loads(msgspec.json.encode(event)) == json.loads(body)
        later = json.loads(body) | {"added_next_year": 1}
        assert msgspec.json.decode(json.dumps(later).encode(), type=type(event)) == event


def test_every_event_gets_a_handler_under_its_type(tmp_path: Path) -> None:
    generated(tmp_path, EVERYTHING)
    app, handlers = (tmp_path / "app.py").read_text(), (tmp_path / "handlers.py").read_text()
    for subject, kind in REGISTRY.items():
        name = subject.replace(".", "_")
        assert f'"{type_of(subject)}": (models.{kind.__name__}, handlers.{name}),' in app
        assert f"async def {name}(" in handlers
    assert app.count("AckPolicy.MANUAL") == 2


@pytest.mark.parametrize("subjects", [EVERYTHING, "user.registered"])
def test_what_it_writes_is_formatted_linted_and_typed(tmp_path: Path, subjects: str) -> None:
    generated(tmp_path / "examples", subjects)
    tools = Path(sys.executable).parent
    settings = ["--config", str(ROOT / "pyproject.toml")]
    ignored = ["--extend-ignore", "INP001,BLE001"]
    for command in (
        [str(tools / "ruff"), "check", *settings, *ignored, "."],
        [str(tools / "ruff"), "format", *settings, "--check", "."],
        [str(tools / "mypy"), "--strict", "--config-file=", "--cache-dir", str(tmp_path / "cache"), "."],
    ):
        done = subprocess.run(  # noqa: S603 - our own tools
            command, cwd=tmp_path / "examples", capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_handlers_that_are_there_are_left_alone(tmp_path: Path) -> None:
    assert "handlers.py" in generated(tmp_path, "race.>")
    (tmp_path / "handlers.py").write_text("# mine\n")
    again = generated(tmp_path, "race.>,results.>")
    assert "handlers.py" not in again
    assert {"app.py", "models.py"} <= set(again)
    assert (tmp_path / "handlers.py").read_text() == "# mine\n"


def test_subjects_that_no_event_has_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(subscriber_app.GenerateError, match=r"no event .* 'pits\.>'"):
        subscriber_app.application(document, ["race.>", "pits.>"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class": {"type": "string"}}, "is no name in Python"),
        ({"weather": {"type": "object"}}, "without a Python type"),
        ({"laps": {"type": "integer"}}, "has no default"),
    ],
)
def test_a_schema_that_has_no_python_is_refused_by_name(
    document: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    other = copy.deepcopy(document)
    other["components"]["schemas"]["RaceFinished"]["properties"] |= change
    with pytest.raises(subscriber_app.GenerateError, match=words):
        subscriber_app.application(other, ["race.finished"])
