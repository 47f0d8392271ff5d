"""What `docs/webhooks.md` tells a subscriber: its programs run, and its figures are those of the code."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from common.contracts import encode
from common.contracts.samples import SAMPLES
from webhooks import signing
from webhooks.domain import PAUSES_SECONDS, DisabledReason, Failure, Subject
from webhooks.settings import WebhooksSettings

if TYPE_CHECKING:
    from services.webhooks.tests.integration.conftest import Receiver, Request, Start, World

DOCUMENT = (Path(__file__).parents[4] / "docs/webhooks.md").read_text(encoding="utf-8")
RACE = next(sample for sample in SAMPLES if sample.subject == "race.finished")
HARNESS = """
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { secret, body, headers } = JSON.parse(Buffer.concat(chunks));
process.stdout.write(JSON.stringify(receive(secret, Buffer.from(body, "utf-8"), headers)));
"""


def program(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found, language
    return found[1]


@pytest.fixture
async def sent(world: "World", start: "Start", receiver: "Receiver") -> tuple[str, "Request"]:
    """A secret and a request that was signed with it."""
    ann = world.subscriber(await start())
    endpoint = await ann.register(receiver.url)
    await world.happen("race.finished")
    return endpoint["secret"], (await receiver.heard(1))[0]


def test_the_program_in_python_reads_what_is_sent_and_nothing_else(sent: tuple[str, "Request"]) -> None:
    secret, request = sent
    space: dict[str, Any] = {}
    exec(program("python"), space)  # noqa: S102 - our own document
    assert space["receive"](secret, request.body, request.headers) == msgspec.json.decode(encode(RACE))
    with pytest.raises(Exception, match="No matching signature"):
        space["receive"](signing.shown(signing.new_key()), request.body, request.headers)


def test_the_program_in_javascript_reads_what_is_sent_and_nothing_else(
    sent: tuple[str, "Request"], tmp_path: Path
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js here")
    file = tmp_path / "receive.mjs"
    file.write_text(program("javascript") + HARNESS, encoding="utf-8")
    secret, request = sent

    def receive(secret: str, **changes: str) -> subprocess.CompletedProcess[str]:
        given = {"secret": secret, "body": request.body.decode(), "headers": request.headers | changes}
        return subprocess.run(  # noqa: S603 - our own document
            [node, file], input=json.dumps(given), capture_output=True, text=True, check=False, timeout=30
        )

    read = receive(secret)
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout) == msgspec.json.decode(encode(RACE))
    both = request.headers["webhook-signature"]
    assert receive(secret, **{"webhook-signature": f"v1,AAAA {both}"}).returncode == 0
    for refused in (
        receive(signing.shown(signing.new_key())),
        receive(secret, **{"webhook-timestamp": "1"}),
        receive(secret, **{"webhook-id": "another"}),
        receive(secret, **{"webhook-signature": ""}),
    ):
        assert refused.returncode != 0


def test_the_figures_are_those_of_the_code() -> None:
    settings = WebhooksSettings()
    seconds = {
        "5 s": 5,
        "30 s": 30,
        "2 min": 120,
        "15 min": 900,
        "1 h": 3600,
        "6 h": 21_600,
        "12 h": 43_200,
        "24 h": 86_400,
    }
    *first, last = seconds
    assert f"{', '.join(first)} and {last}" in DOCUMENT
    assert tuple(seconds.values()) == PAUSES_SECONDS
    words = DOCUMENT.replace("\n", " ")
    assert f"At most {settings.endpoints_per_user} endpoints" in words
    assert f"2xx within {settings.request_seconds:.0f} seconds" in words
    assert f"{settings.disable_after_failures} attempts in a row failed, over a day" in words
    assert settings.disable_after_seconds == settings.old_secret_seconds == 86_400
    assert f"port {settings.ports.replace(',', ' or ')}" in words
    assert f"for {settings.log_days} days" in words
    assert settings.endpoint_concurrency == 2
    assert "up to two requests to an endpoint" in words


def test_every_subject_error_and_reason_is_named() -> None:
    for name in (*Subject, *Failure, *DisabledReason):
        assert f"`{name}`" in DOCUMENT, name
