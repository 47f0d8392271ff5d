"""What time tells whoever asks who has an account: letters, registrations. Logins are in `bench/login.py`.

python bench/oracle.py [--samples 500] [--json]

| key | what |
|---|---|
| `forgot_ms`, `resend_ms`, `register_ms` | largest difference of medians between an address of somebody (active, \
not proved, deactivated) and one of nobody, for each way to ask |
| `forgot_p` and so on | smallest p of Mann and Whitney for the same, times the comparisons: how likely samples so \
different are when nothing differs |

Accounts are hidden (`AUTH_HIDE_ACCOUNTS`), limits are off, and letters, sent apart from requests, go to nobody. All are
asked by turns in random order, one at a time, over one connection.
"""

import argparse
import asyncio
import contextlib
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import msgspec

from auth.settings import AuthSettings
from common import migrate, topology
from devstack import servers

KINDS = ("active", "unproved", "deactivated")
NOBODY = "nobody"
ACCOUNTS = 600
COST = 4
"""Cheap passwords, so that what is not bcrypt shows."""
WARM_UP = 20
TARGETS: dict[str, tuple[str, float]] = {"forgot_ms": ("<=", 2), "resend_ms": ("<=", 2), "register_ms": ("<=", 2)}
TARGETS |= {"forgot_p": (">=", 0.01), "resend_p": (">=", 0.01), "register_p": (">=", 0.01)}
OPEN = {f"AUTH_{field}".upper(): "0" for field in AuthSettings.__struct_fields__ if field.startswith("limit_")}

Ask = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


async def forgot(client: httpx.AsyncClient, address: str) -> httpx.Response:
    """Ask for a new password."""
    return await client.post("/api/v1/auth/forgot-password", json={"email": address})


async def resend(client: httpx.AsyncClient, address: str) -> httpx.Response:
    """Ask for the letter that proves an address."""
    return await client.post("/api/v1/auth/request-verify-token", json={"email": address})


async def register(client: httpx.AsyncClient, address: str) -> httpx.Response:
    """Open an account."""
    body = {"username": f"guest_{uuid4().hex[:12]}", "email": address, "password": "Slipstream-44"}
    return await client.post("/api/v1/auth/register", json=body)


WAYS: dict[str, Ask] = {"forgot": forgot, "resend": resend, "register": register}


def address_of(kind: str, number: int) -> str:
    """Name an address; those of nobody are new each time, and as long as the others."""
    return f"{uuid4().hex[:12]}@example.com" if kind == NOBODY else f"{kind[:4]}{number:08d}@example.com"


async def prepare(database_url: str, nats_url: str) -> None:
    """Make the schema, the streams, and accounts of every kind."""
    await migrate.bootstrap(database_url, {})
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE SCHEMA auth")
    await migrate.upgrade("auth", database_url)
    client = await topology.connect(nats_url, "bench")
    await topology.apply(client.jetstream())
    await client.close()
    for kind in KINDS:
        await connection.executemany(
            "INSERT INTO auth.users (id, username, email, password_hash, created_at, email_verified_at, deactivated_at)"
            " VALUES (gen_random_uuid(), $1, $2, '', now(), CASE WHEN $3 THEN now() END, CASE WHEN $4 THEN now() END)",
            [
                (f"{kind}_{number}", address_of(kind, number), kind != "unproved", kind == "deactivated")
                for number in range(ACCOUNTS)
            ],
        )
    await connection.execute("ANALYZE auth.users")
    await connection.close()


@contextlib.asynccontextmanager
async def service(database_url: str, nats_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run auth in a process of its own; nobody takes its letters."""
    port = servers.free_port()
    environ = dict(os.environ) | OPEN | {"DATABASE_URL": database_url, "NATS_URL": nats_url, "PORT": str(port)}
    environ |= {"LOG_LEVEL": "ERROR", "AUTH_BCRYPT_COST": str(COST), "AUTH_HIDE_ACCOUNTS": "true"}
    environ |= {"AUTH_SMTP_PORT": str(servers.free_port())}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auth", env=environ, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await _ready(client)
            yield client
    finally:
        process.terminate()
        await process.wait()


async def _ready(client: httpx.AsyncClient) -> None:
    """Wait until the service says that it is."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/health/ready")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.1)


async def sample(client: httpx.AsyncClient, ask: Ask, samples: int) -> dict[str, list[float]]:
    """Ask about every kind by turns; return milliseconds by kind."""
    taken: dict[str, list[float]] = {kind: [] for kind in (NOBODY, *KINDS)}
    statuses = set()
    for number in range(samples + WARM_UP):
        for kind in random.sample(list(taken), len(taken)):
            address = address_of(kind, number % ACCOUNTS)
            started = time.perf_counter()
            response = await ask(client, address)
            if number >= WARM_UP:
                taken[kind].append(1000 * (time.perf_counter() - started))
            statuses.add(response.status_code)
    if len(statuses) != 1:
        raise SystemExit(f"the answers differ: {statuses}")
    return taken


def likeness(some: Sequence[float], others: Sequence[float]) -> float:
    """Return the p of Mann and Whitney, two-sided: how likely samples so different are when nothing is different."""
    ranked = sorted([(value, True) for value in some] + [(value, False) for value in others])
    rank_sum = sum(rank for rank, (_, mine) in enumerate(ranked, start=1) if mine)
    count, other = len(some), len(others)
    mean, deviation = count * (count + other + 1) / 2, (count * other * (count + other + 1) / 12) ** 0.5
    return 2 * (1 - statistics.NormalDist().cdf(abs(rank_sum - mean) / deviation))


async def measure(samples: int, folder: Path) -> dict[str, float]:
    """Measure every way."""
    postgres = servers.start_postgres(folder / "postgres", durable=True)
    nats = servers.start_nats(folder / "nats", durable=False)
    figures: dict[str, float] = {}
    try:
        await prepare(postgres.url, nats.url)
        async with service(postgres.url, nats.url) as client:
            for way, ask in WAYS.items():
                taken = await sample(client, ask, samples)
                usual = statistics.median(taken[NOBODY])
                medians = {kind: statistics.median(values) for kind, values in taken.items()}
                figures |= {f"{way}_{kind}_median_ms": median for kind, median in medians.items()}
                figures[f"{way}_ms"] = max(abs(median - usual) for median in medians.values())
                figures[f"{way}_p"] = min(1, len(KINDS) * min(likeness(taken[kind], taken[NOBODY]) for kind in KINDS))
    finally:
        nats.stop()
        postgres.stop()
    return figures


def held(name: str, value: float) -> bool:
    """Tell whether a figure is what is promised."""
    sign, bound = TARGETS[name]
    return value <= bound if sign == "<=" else value >= bound


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(options.samples, Path(folder)))
    if options.json:
        print(msgspec.json.encode(figures).decode())
        return
    for name, value in figures.items():
        verdict = "" if name not in TARGETS else f"  {' '.join(map(str, TARGETS[name]))}  {held(name, value)}"
        print(f"{name:<32}{value:10.3f}{verdict}")


if __name__ == "__main__":
    main()
