"""Somebody who cannot hold a connection hears of a race all the same."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from standardwebhooks import Webhook

from devstack.stack import Stack

pytestmark = pytest.mark.e2e

SECONDS = 60


class Receiver:
    """A subscriber's server."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((body, {name.lower(): value for name, value in self.headers.items()}))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        return Hook


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


async def test_a_race_weekend_arrives_signed(
    stacks: Callable[..., Stack], player_at: Callable[[Stack, str], Any], receiver: Receiver
) -> None:
    stack = stacks(pace=8, seed=4, rounds="1", start=datetime.now(UTC) + timedelta(seconds=8))
    player = await player_at(stack, "listener").enter()
    subjects = ["session.started", "results.synced", "race.finished", "race.scored"]
    endpoint = await player.call("POST", "/webhooks", 201, json={"url": receiver.url, "subjects": subjects})
    await player.call("POST", f"/webhooks/{endpoint['endpoint_id']}/test", 202)

    def heard() -> set[str]:
        return {json.loads(body)["type"] for body, _ in receiver.received}

    wanted = {f"paddock.{subject}.v1" for subject in [*subjects, "webhook.test"]}
    async with asyncio.timeout(SECONDS):
        while not heard() >= wanted:  # noqa: ASYNC110 - the receiver is in another thread
            await asyncio.sleep(0.1)
    for body, headers in receiver.received:
        event = Webhook(endpoint["secret"]).verify(body, headers)
        assert headers["webhook-id"] == event["id"]
    log = await player.get(f"/webhooks/{endpoint['endpoint_id']}/deliveries", limit=100)
    assert {item["type"] for item in log["items"]} == wanted
    race = next(event for event in map(json.loads, (body for body, _ in receiver.received)) if "name" in event["data"])
    assert (race["type"], race["data"]["round"]) == ("paddock.race.finished.v1", 1)
