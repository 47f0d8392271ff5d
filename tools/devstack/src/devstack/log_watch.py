"""The pytest plugin that reads every log line of a run and fails the run for a secret or an e-mail address in one.

Lines of apps in the test process go through the logging of production into a file of the run; processes have log files
under the run's temporary folder. What tests send as a password, and what they are given as a token or a secret, is
remembered, so that it is found whatever it looks like. With xdist the workers collect and the controller judges.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest
import structlog

from common.log import setup_logging
from common.settings import Environment, LogFormat, Settings
from devstack.leaks import IN_LOGS, Leak, leaks

LINES, KNOWN = "run.log", "run-secrets.json"
SHOWN = 20
SECRET_KEYS = ("password", "token", "secret")
"""A field whose name ends so holds one."""
SHORTEST = 8
LARGEST_BODY = 64 * 1024
FOLDERS = pytest.StashKey[list[Path]]()
FOUND = pytest.StashKey[list[tuple[Path, Leak]]]()
WATCH = pytest.StashKey["Watch"]()


class Watch:
    """Collects in one process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: set[str] = set()
        before = list(logging.getLogger().handlers)
        setup_logging("tests", Settings(paddock_env=Environment.TEST, log_format=LogFormat.JSON))
        (handler,) = logging.getLogger().handlers
        self._handler = handler
        assert isinstance(handler, logging.StreamHandler)  # noqa: S101 - for the type
        handler.setStream((folder / LINES).open("a", encoding="utf-8"))
        self._config = structlog.get_config()
        logging.getLogger().handlers = [*before, handler]

    def renew(self) -> None:
        """Go on collecting after a test that set up logging for itself."""
        root = logging.getLogger()
        if self._handler not in root.handlers:
            root.addHandler(self._handler)
        if structlog.get_config()["processors"] is not self._config["processors"]:
            structlog.configure(**self._config)

    def remember(self, body: object) -> None:
        """Keep what a body holds that must not be logged."""
        if isinstance(body, dict):
            for key, value in body.items():
                if isinstance(value, str):
                    if str(key).endswith(SECRET_KEYS) and _guessable_by_nobody(value):
                        self.known.add(value)
                else:
                    self.remember(value)
        elif isinstance(body, list):
            for value in body:
                self.remember(value)

    def close(self) -> None:
        """Write down what is known."""
        self._handler.flush()
        (self.folder / KNOWN).write_bytes(msgspec.json.encode(sorted(self.known)))


def _guessable_by_nobody(value: str) -> bool:
    """Tell a secret from a word that may stand in a log by chance: three kinds of characters, as our passwords have."""
    kinds = (str.isupper, str.islower, str.isdigit)
    return len(value) >= SHORTEST and all(any(kind(character) for character in value) for kind in kinds)


def fields(headers: Mapping[str, str], content: bytes) -> object:
    """Read a body: JSON or a form, else nothing."""
    kind = headers.get("content-type", "")
    if len(content) > LARGEST_BODY:
        return None
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, ValueError):
        if "json" in kind:
            return msgspec.json.decode(content)
        if "form-urlencoded" in kind:
            return dict(parse_qsl(content.decode()))
    return None


def _overhear(watch: Watch) -> Callable[[], None]:
    """Listen to every client of httpx; return what ends it."""
    plain, waiting = httpx.Client.send, httpx.AsyncClient.send

    def note(message: httpx.Request | httpx.Response) -> None:
        with contextlib.suppress(httpx.StreamError):  # a stream that nobody has read is none of ours
            watch.remember(fields(message.headers, message.content))

    def send(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        note(request)
        response = plain(self, request, **options)
        note(response)
        return response

    async def send_async(self: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401
        note(request)
        response = await waiting(self, request, **options)
        note(response)
        return response

    def end() -> None:
        httpx.Client.send, httpx.AsyncClient.send = plain, waiting  # type: ignore[method-assign] # put back

    httpx.Client.send, httpx.AsyncClient.send = send, send_async  # type: ignore[method-assign]
    return end


def judge(folder: Path) -> Iterator[tuple[Path, Leak]]:
    """Yield every leak in the log files of a folder."""
    known: set[str] = set()
    for file in folder.rglob(KNOWN):
        known.update(msgspec.json.decode(file.read_bytes(), type=list[str]))
    for file in sorted({*folder.rglob("*.log"), *folder.rglob("*.log.[0-9]")}):
        if file.is_file():
            for leak in leaks(file.read_text(encoding="utf-8", errors="replace"), IN_LOGS, known):
                yield file, leak


@pytest.fixture(scope="session", autouse=True)
def _every_log_line(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    watch = Watch(tmp_path_factory.getbasetemp())
    pytestconfig.stash[WATCH] = watch
    pytestconfig.stash[FOLDERS] = [watch.folder]
    end = _overhear(watch)
    yield
    end()
    watch.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Collect the lines of the next test too."""
    if watch := item.config.stash.get(WATCH, None):
        watch.renew()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - xdist's type
    """Learn where a worker has collected."""
    folders = node.config.stash.setdefault(FOLDERS, [])
    folders += [Path(folder) for folder in getattr(node, "workeroutput", {}).get("log_folders", [])]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Judge, or tell the controller where to."""
    folders = session.config.stash.get(FOLDERS, [])
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["log_folders"] = [str(folder) for folder in folders]
        return
    session.config.stash[FOUND] = found = [leak for folder in folders for leak in judge(folder)]
    if found and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:  # noqa: ANN401 - pytest's is private
    """Show what was found, without it."""
    found = config.stash.get(FOUND, [])
    if not found:
        return
    terminalreporter.section("secrets in log lines", red=True)
    for file, leak in found[:SHOWN]:
        terminalreporter.line(f"{file}:{leak.number}: {leak.kind}: {leak.line}")
    terminalreporter.line(f"{len(found)} in all, and none may be there", red=True)
