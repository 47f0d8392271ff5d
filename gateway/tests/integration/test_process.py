"""The gateway as a process: it starts, says so, and stops at once although streams are open."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import httpx

from devstack.servers import free_port
from devstack.testing import eventually
from gateway.settings import GatewaySettings


async def test_sigterm_ends_open_streams_in_order_and_the_process_with_zero(
    settings: GatewaySettings, tmp_path: Path
) -> None:
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "NATS_URL": settings.nats_url, "REDIS_URL": settings.redis_url}
    with (tmp_path / "gateway.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", env=environment, stdout=log)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:

            async def ready() -> bool:
                assert process.returncode is None, "the gateway did not start"
                try:
                    return (await client.get("/health/ready")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(ready, seconds=20, what="a ready gateway")
            async with client.stream("GET", "/api/v1/stream") as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == "retry: 2000"
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert [line async for line in lines] == [""]
            assert await asyncio.wait_for(process.wait(), 5) == 0
            assert time.monotonic() - began < 5
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
