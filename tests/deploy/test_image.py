"""The image: rules of the Dockerfile, and its build steps run here: no deployable lives off another's packages."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from common import migrate

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
MODULES = {
    **{name: name for name in (*migrate.SERVICES, "gateway", "trackside")},
    "mailbox": "paddock_mailbox",
    "cli": "paddock",
}
IMPORTED = {**{module: f"{module}.app" for module in MODULES.values()}, "paddock": "paddock.__main__"}
REFUSALS = {
    **dict.fromkeys(migrate.SERVICES, "DATABASE_URL has its default value"),
    "gateway": "PORT is not usable",
    **dict.fromkeys(("trackside", "mailbox"), "invalid int value: 'none'"),
    "cli": "for operators",
}
"""What each says when its command runs with nothing that it can use."""
PINNED_BASE = r"^ARG PYTHON_IMAGE=python:3\.11\.\d+-slim-\w+$"
LOWEST_UID = 10_000


@dataclass(frozen=True)
class Instruction:
    """One instruction and the stage it is in, counted from 0; before the first FROM it is -1."""

    stage: int
    word: str
    rest: str


def parse(text: str) -> list[Instruction]:
    """Read a Dockerfile: continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    stage, found = -1, []
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        stage += word == "FROM"
        found.append(Instruction(stage, word, rest.strip()))
    return found


def problems(text: str) -> list[str]:
    """Name every rule that the Dockerfile breaks."""
    every = parse(text)
    last = max(instruction.stage for instruction in every)
    final = [instruction for instruction in every if instruction.stage == last]
    words = {instruction.word: instruction.rest for instruction in final}
    copies = [instruction.rest for instruction in final if instruction.word in {"COPY", "ADD"}]
    runs = [instruction.rest for instruction in every if instruction.word == "RUN"]
    environment = words.get("ENV", "")
    user = words.get("USER", "0").partition(":")[0]
    installs = [part for run in runs for part in re.split(r"&&|;", run) if re.search(r"pip install", part)]
    rules = {
        "no directive that is fetched from a registry": not re.search(r"^#\s*syntax\s*=", text, re.MULTILINE),
        "more than one stage": last > 0,
        "the base has a full version": bool(re.search(PINNED_BASE, text, re.MULTILINE)),
        "every base is that argument": all(
            instruction.rest.split()[0] == "${PYTHON_IMAGE}" for instruction in every if instruction.word == "FROM"
        ),
        "the user is a number above the system's": user.isdecimal() and int(user) > LOWEST_UID,
        "the entry point is in exec form": _is_exec(words.get("ENTRYPOINT", "")),
        "the health check is in exec form": _is_exec(words.get("HEALTHCHECK", "").partition("CMD ")[2]),
        "the health check asks for readiness": "/health/ready" in words.get("HEALTHCHECK", ""),
        "it stops by SIGTERM": words.get("STOPSIGNAL") == "SIGTERM",
        "only the environment is copied": all(
            re.fullmatch(r"--from=builder (--chown=10001:10001 )?/(venv|state) /(venv|state)", rest) for rest in copies
        ),
        "what is installed has a hash or comes from here": bool(installs)
        and all("--require-hashes" in part or "--offline --no-deps" in part for part in installs),
        "members are built without their dependencies": any(
            "pip wheel" in run and "--no-deps --no-build-isolation" in run for run in runs
        ),
        "nothing is editable": not any(re.search(r"\s(-e|--editable)\s", run) for run in runs),
        "it listens on every address": "HOST=0.0.0.0" in environment and "PORT=8000" in environment,
        "no bytecode is written at run time": "PYTHONDONTWRITEBYTECODE=1" in environment,
        "labels say what it is": "org.opencontainers.image.title" in words.get("LABEL", ""),
        "no secret is baked in": not re.search(r"(?i)^(ARG|ENV).*(password|secret|token)", text, re.MULTILINE),
    }
    return [rule for rule, kept in rules.items() if not kept]


def _is_exec(command: str) -> bool:
    try:
        return isinstance(json.loads(command), list)
    except ValueError:
        return False


def test_the_dockerfile_keeps_every_rule() -> None:
    assert problems(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("# One file", "# syntax=docker/dockerfile:1\n# One file", "no directive that is fetched from a registry"),
        ("python:3.11.14-slim-bookworm", "python:latest", "the base has a full version"),
        ("FROM ${PYTHON_IMAGE}\n", "FROM python:3.11-slim\n", "every base is that argument"),
        ("USER 10001:10001", "USER paddock", "the user is a number above the system's"),
        ("USER 10001:10001\n", "", "the user is a number above the system's"),
        ('ENTRYPOINT ["/venv/bin/paddock-entry"]', "ENTRYPOINT paddock-entry", "the entry point is in exec form"),
        ("CMD [", "CMD curl [", "the health check is in exec form"),
        ("/health/ready", "/health/live", "the health check asks for readiness"),
        ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL", "it stops by SIGTERM"),
        ("COPY --from=builder /venv", "COPY . /src\nCOPY --from=builder /venv", "only the environment is copied"),
        ("--require-hashes -r", "-r", "what is installed has a hash or comes from here"),
        ("--no-deps --no-build-isolation", "", "members are built without their dependencies"),
        ("pip wheel --quiet", "pip wheel -e --quiet", "nothing is editable"),
        ("HOST=0.0.0.0", "HOST=127.0.0.1", "it listens on every address"),
        ("PYTHONDONTWRITEBYTECODE=1", "PYTHONDONTWRITEBYTECODE=", "no bytecode is written at run time"),
        ("image.title", "image.heading", "labels say what it is"),
        ("ARG VERSION=0.1.0", "ARG VERSION=0.1.0\nARG DB_PASSWORD=x", "no secret is baked in"),
    ],
)
def test_a_dockerfile_that_breaks_a_rule_is_told(old: str, new: str, rule: str) -> None:
    assert old in DOCKERFILE
    assert rule in problems(DOCKERFILE.replace(old, new))


def test_only_sources_reach_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {
        "requirements",
        "libs",
        "services",
        "gateway",
        "tools",
    }
    assert {"**/tests", "**/.*", "**/__pycache__"} <= set(lines)


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the environment with the tools that build, by the Dockerfile's own step."""
    folder = tmp_path_factory.mktemp("builder")
    tools = next(step for step in builder_steps() if "-m venv /tools" in step)
    run(tools, folder, "none")
    return folder


def builder_steps() -> list[str]:
    """Return the shell commands of the builder, in their order."""
    return [
        instruction.rest for instruction in parse(DOCKERFILE) if instruction.stage == 0 and instruction.word == "RUN"
    ]


def run(step: str, folder: Path, service: str, tools: Path | None = None) -> None:
    """Run a step of the builder with everything below ``folder`` that the image has below its root."""
    step = re.sub(r"(?<![\w./}*-])/tools\b", f"{tools or folder}/tools", step)
    step = re.sub(r"(?<![\w./}*-])/(venv|wheels|state)\b", rf"{folder}/\1", step).replace("!/venv", f"!{folder}/venv")
    step = re.sub(r"(?<![/\w])python -m venv", f"{shlex.quote(sys.executable)} -m venv", step)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environ = inherited | {"SERVICE": service, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    ended = subprocess.run(  # noqa: S603 - our own Dockerfile
        ["/bin/sh", "-c", step], cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=110
    )
    assert ended.returncode == 0, f"{step}\n{ended.stdout}{ended.stderr}"


@pytest.mark.parametrize("service", MODULES)
def test_a_deployable_runs_on_what_its_own_requirements_file_installs(
    service: str, builder: Path, tmp_path: Path
) -> None:
    run("python -m venv --without-pip /venv", tmp_path, service)
    for step in builder_steps():
        if "-m venv /tools" not in step:
            run(step, tmp_path, service, tools=builder)
    entry = tmp_path / "venv/bin/paddock-entry"
    arguments = [str(entry), *(["--port", "none"] if service in {"trackside", "mailbox"} else [])]
    program = (
        f"import runpy, sys, {IMPORTED[MODULES[service]]} as module\n"
        f"print(module.__file__, flush=True)\nsys.argv = {arguments}\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    )
    started = subprocess.run(  # noqa: S603 - the environment that was just made
        [tmp_path / "venv/bin/python", "-I", "-c", program],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PADDOCK_ENV": "production", **({"PORT": "none"} if service == "gateway" else {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert started.stdout.startswith(str(tmp_path / "venv")), f"not the installed package: {started.stderr}"
    assert REFUSALS[service] in started.stderr
    assert os.access(entry, os.X_OK)
    assert entry.read_text(encoding="utf-8").startswith(f"#!{tmp_path}/venv/bin/python\n")
    assert list(tmp_path.glob("venv/lib/*/site-packages/*editable*")) == []


def test_every_deployable_has_a_requirements_file_where_each_package_is_named_by_hashes() -> None:
    for service in MODULES:
        text = (ROOT / f"requirements/{service}.txt").read_text(encoding="utf-8")
        packages = re.findall(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
        assert packages, service
        assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == [], service
