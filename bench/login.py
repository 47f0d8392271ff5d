"""Logging in: what is left of bcrypt's own speed, what others feel of a flood, and what time tells whoever guesses.

python bench/login.py [--seconds 12] [--rounds 3] [--samples 300] [--json]

| key | what |
|---|---|
| `login_vs_bcrypt` | logins per second over bare bcrypt on as many threads of the same priority, by turns |
| `me_flooded_vs_calm_p99` | 99th percentile of `GET /users/me` under that flood, over the same without it |
| `me_crowded_p99_ms` | the same 99th percentile while 200 try to log in at once, most of whom are told to come back |
| `oracle_ms` | largest difference of medians between a wrong password and: no account, a deactivated one, the right \
password of one that is not proved while accounts are hidden |

The service, whoever floods it, and bare bcrypt have a process of their own each; all share the machine's cores.
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
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

import asyncpg
import bcrypt
import msgspec

from auth.passwords import PasswordHasher, step_back
from auth.settings import AuthSettings
from common import migrate, topology
from devstack import servers

PASSWORD = "Slipstream-44"  # noqa: S105 - of accounts that live as long as the run
WRONG = "Slipstream-45"
JOB = "BENCH_JOB"
COST = 12
ORACLE_COST = 8
"""Cheaper, so that what is not bcrypt shows."""
THREADS = 2
FLOOD = 12
"""Clients that log in again and again, each waiting for its answer; fewer than have a place in the queue."""
PROBES_PER_SECOND = 50
USERS = 300
WARM_UP = 10
CROWD = 200
"""Clients of which most are told to come back, and do."""
RETRY_SECONDS = 2
KEEP_ALIVE_SECONDS = 3
"""Less than the service's."""
KINDS = ("user", "deactivated", "unverified")
TARGETS = {
    "login_vs_bcrypt": (">=", 0.9),
    "me_flooded_vs_calm_p99": ("<=", 3),
    "me_crowded_p99_ms": ("<=", 250),
    "oracle_ms": ("<=", 2),
}
OPEN = {
    name: "0" for name in (f"AUTH_{field}".upper() for field in AuthSettings.__struct_fields__) if "LIMIT_LOGIN" in name
}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a process that loads the service is to do."""

    port: int
    seconds: float = 0
    flood: int = 0
    token: str = ""
    """Whoever has one reads their account at a steady pace."""
    samples: int = 0
    """Logins of each kind that fail."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    logins_per_second: float = 0
    busy: int = 0
    me_ms: list[float] = []
    failing_ms: dict[str, list[float]] = {}


class Connection:
    """One kept-alive connection, with as little of a client as there can be: the cores are the service's."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._used_at = 0.0

    async def call(self, method: str, path: str, body: bytes = b"", token: str = "") -> tuple[int, bytes]:
        """Send a request and read its answer."""
        if self._reader is None or self._writer is None or time.monotonic() > self._used_at + KEEP_ALIVE_SECONDS:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: application/json\r\n" if body else ""
        head += f"Authorization: Bearer {token}\r\n" if token else ""
        self._writer.write(head.encode() + b"\r\n" + body)
        raw = await self._reader.readuntil(b"\r\n\r\n")
        lines = raw.decode("latin-1").lower().split("\r\n")
        length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
        answer = await self._reader.readexactly(length)
        self._used_at = time.monotonic()
        return int(lines[0].split()[1]), answer

    async def log_in(self, username: str, password: str = PASSWORD) -> tuple[int, bytes]:
        """Log in."""
        body = msgspec.json.encode({"username": username, "password": password})
        return await self.call("POST", "/api/v1/auth/login", body)


async def flood(job: Job) -> tuple[float, int]:
    """Log in with many clients; return logins per second and how often there was no place."""
    ends: list[float] = []
    busy = 0
    over = time.perf_counter() + job.seconds

    async def client(number: int) -> None:
        nonlocal busy
        connection = Connection(job.port)
        turn = number
        while time.perf_counter() < over:
            status, answer = await connection.log_in(f"user_{turn % USERS}")
            turn += job.flood
            if status == HTTPStatus.OK:
                ends.append(time.perf_counter())
            elif status == HTTPStatus.SERVICE_UNAVAILABLE:
                busy += 1
                await asyncio.sleep(RETRY_SECONDS * random.uniform(1, 1.5))  # noqa: S311 - no secret
            else:
                raise SystemExit(f"a login was answered {status}: {answer.decode()}")

    await asyncio.gather(*(client(number) for number in range(job.flood)))
    ends = sorted(ends)[job.flood :]  # the first wave starts with idle threads
    return ((len(ends) - 1) / (ends[-1] - ends[0]) if len(ends) > 1 else 0.0), busy


async def probe(job: Job) -> list[float]:
    """Read the account at a steady pace, whatever the last one took; return milliseconds."""
    loop, taken = asyncio.get_running_loop(), []
    idle = [Connection(job.port) for _ in range(20)]

    async def one(due: float) -> None:
        connection = idle.pop()
        status, answer = await connection.call("GET", "/api/v1/users/me", token=job.token)
        if status != HTTPStatus.OK:
            raise SystemExit(f"a read was answered {status}: {answer.decode()}")
        taken.append(1000 * (loop.time() - due))
        idle.append(connection)

    begin = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(int(job.seconds * PROBES_PER_SECOND)):
            due = begin + number / PROBES_PER_SECOND
            await asyncio.sleep(due - loop.time())
            group.create_task(one(max(due, loop.time())))
    return taken[PROBES_PER_SECOND:]


async def guess(job: Job) -> dict[str, list[float]]:
    """Fail to log in, each way by turns; return milliseconds by way."""
    taken: dict[str, list[float]] = {"wrong": [], "unknown": [], "deactivated": [], "unverified": []}
    connection = Connection(job.port)
    for number in range(job.samples + WARM_UP):
        tries = [("wrong", f"user_{number % USERS}", WRONG), ("unknown", f"nobody_{number % USERS}", WRONG)]
        tries.append(("deactivated", f"deactivated_{number % USERS}", WRONG))
        tries.append(("unverified", f"unverified_{number % USERS}", PASSWORD))
        random.shuffle(tries)
        for kind, name, password in tries:
            started = time.perf_counter()
            status, answer = await connection.log_in(name, password)
            if status != HTTPStatus.UNAUTHORIZED:
                raise SystemExit(f"a guess was answered {status}: {answer.decode()}")
            if number >= WARM_UP:
                taken[kind].append(1000 * (time.perf_counter() - started))
    return taken


async def load(job: Job) -> Outcome:
    """Do a job."""
    if job.samples:
        return Outcome(failing_ms=await guess(job))
    if job.flood and job.token:
        (rate, busy), me = await asyncio.gather(flood(job), probe(job))
        return Outcome(logins_per_second=rate, busy=busy, me_ms=me)
    if job.flood:
        rate, busy = await flood(job)
        return Outcome(logins_per_second=rate, busy=busy)
    return Outcome(me_ms=await probe(job))


def bare(job: Job) -> Outcome:
    """Check passwords with bcrypt and nothing else; return how many per second."""
    stored = bcrypt.hashpw(b"x" * 44, bcrypt.gensalt(COST))
    over = time.perf_counter() + job.seconds

    def check(_: int) -> int:
        count = 0
        while time.perf_counter() < over:
            bcrypt.checkpw(b"y" * 44, stored)
            count += 1
        return count

    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS, initializer=step_back) as threads:
        total = sum(threads.map(check, range(THREADS)))
    return Outcome(logins_per_second=total / (time.perf_counter() - started))


async def elsewhere(part: str, job: Job) -> Outcome:
    """Have a job done in a process of its own."""
    environ = dict(os.environ) | {JOB: msgspec.json.encode(job).decode()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--part", part, stdout=asyncio.subprocess.PIPE, env=environ
    )
    told, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    return msgspec.json.decode(told.splitlines()[-1], type=Outcome)


async def prepare(database_url: str, nats_url: str) -> None:
    """Make the schema, the streams, and accounts of every kind."""
    await migrate.bootstrap(database_url, {})
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE SCHEMA auth")
    await migrate.upgrade("auth", database_url)
    client = await topology.connect(nats_url, "bench")
    await topology.apply(client.jetstream())
    await client.close()
    await connection.execute("SET search_path = auth")
    await connection.execute(
        "INSERT INTO users (id, username, email, password_hash, created_at, email_verified_at, deactivated_at)"
        " SELECT gen_random_uuid(), kind || '_' || n, kind || '_' || n || '@example.com', '', now(),"
        " CASE WHEN kind <> 'unverified' THEN now() END, CASE WHEN kind = 'deactivated' THEN now() END"
        " FROM generate_series(0, $1::int - 1) AS n, unnest($2::text[]) AS kind",
        USERS,
        KINDS,
    )
    await connection.execute("ANALYZE users")
    await connection.close()


@contextlib.asynccontextmanager
async def service(database_url: str, nats_url: str, settings: Mapping[str, str]) -> AsyncIterator[int]:
    """Run auth in a process of its own, with passwords hashed as it will check them."""
    cost = int(settings["AUTH_BCRYPT_COST"])
    connection = await asyncpg.connect(database_url, server_settings={"search_path": "auth"})
    stored = await PasswordHasher(AuthSettings(bcrypt_cost=cost)).hash(PASSWORD)
    await connection.execute("UPDATE users SET password_hash = $1", stored)
    await connection.execute("TRUNCATE guards, sessions")
    await connection.close()
    port = servers.free_port()
    own = {"DATABASE_URL": database_url, "NATS_URL": nats_url, "PORT": str(port), "LOG_LEVEL": "WARNING"}
    own |= {"AUTH_HASH_THREADS": str(THREADS), "AUTH_LOCK_FAILURES": "100"} | OPEN
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auth", env=dict(os.environ) | own | dict(settings), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await ready(port)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def ready(port: int) -> None:
    """Wait until the service says that it is."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                status, _ = await Connection(port).call("GET", "/health/ready")
                if status == HTTPStatus.OK:
                    return
            await asyncio.sleep(0.1)


def p99(milliseconds: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(milliseconds, n=100)[98]


def likeness(some: Sequence[float], others: Sequence[float]) -> float:
    """Return the p of Mann and Whitney, two-sided: how likely samples so different are when nothing is different."""
    ranked = sorted([(value, True) for value in some] + [(value, False) for value in others])
    rank_sum = sum(rank for rank, (_, mine) in enumerate(ranked, start=1) if mine)
    count, other = len(some), len(others)
    mean, deviation = count * (count + other + 1) / 2, (count * other * (count + other + 1) / 12) ** 0.5
    return 2 * (1 - statistics.NormalDist().cdf(abs(rank_sum - mean) / deviation))


async def speed(port: int, seconds: float, rounds: int) -> dict[str, float]:
    """Compare logins with bare bcrypt, and what others feel with what they feel without."""
    _, answer = await Connection(port).log_in("user_0")
    token = msgspec.json.decode(answer)["access_token"]
    alone, logins = [], []
    for _ in range(rounds):
        alone.append((await elsewhere("bare", Job(port=port, seconds=seconds))).logins_per_second)
        logins.append((await elsewhere("load", Job(port=port, seconds=seconds, flood=FLOOD))).logins_per_second)
    calm, flooded = [], []
    for _ in range(rounds):
        calm += (await elsewhere("load", Job(port=port, seconds=seconds, token=token))).me_ms
        flooded += (await elsewhere("load", Job(port=port, seconds=seconds, flood=FLOOD, token=token))).me_ms
    crowded = (await elsewhere("load", Job(port=port, seconds=seconds, flood=CROWD, token=token))).me_ms
    return {
        "login_vs_bcrypt": statistics.median(logins) / statistics.median(alone),
        "me_flooded_vs_calm_p99": p99(flooded) / p99(calm),
        "me_crowded_p99_ms": p99(crowded),
        "logins_per_s": statistics.median(logins),
        "bcrypt_per_s": statistics.median(alone),
        "me_calm_p50_ms": statistics.median(calm),
        "me_calm_p99_ms": p99(calm),
        "me_flooded_p50_ms": statistics.median(flooded),
        "me_flooded_p99_ms": p99(flooded),
    }


async def oracle(port: int, samples: int) -> dict[str, float]:
    """Compare what failing takes."""
    taken = (await elsewhere("load", Job(port=port, samples=samples))).failing_ms
    usual = statistics.median(taken["wrong"])
    figures = {f"oracle_{kind}_median_ms": statistics.median(values) for kind, values in taken.items()}
    figures |= {
        f"oracle_{kind}_p": likeness(values, taken["wrong"]) for kind, values in taken.items() if kind != "wrong"
    }
    return {"oracle_ms": max(abs(statistics.median(values) - usual) for values in taken.values())} | figures


async def measure(seconds: float, rounds: int, samples: int, folder: Path) -> dict[str, float]:
    """Measure everything."""
    postgres = servers.start_postgres(folder / "postgres", durable=True)
    nats = servers.start_nats(folder / "nats", durable=False)
    try:
        await prepare(postgres.url, nats.url)
        async with service(postgres.url, nats.url, {"AUTH_BCRYPT_COST": str(COST)}) as port:
            figures = await speed(port, seconds, rounds)
        hidden = {"AUTH_BCRYPT_COST": str(ORACLE_COST), "AUTH_HIDE_ACCOUNTS": "true"}
        async with service(postgres.url, nats.url, hidden) as port:
            return figures | await oracle(port, samples)
    finally:
        nats.stop()
        postgres.stop()


def main() -> None:
    """Print the table, and with --json one object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=["load", "bare"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        job = msgspec.json.decode(os.environ[JOB], type=Job)
        outcome = bare(job) if arguments.part == "bare" else asyncio.run(load(job))
        print(msgspec.json.encode(outcome).decode())
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(arguments.seconds, arguments.rounds, arguments.samples, Path(folder)))
    for name, figure in figures.items():
        sign, target = TARGETS.get(name, ("", ""))
        print(f"{name:<28}{figure:>12,.3f}  {sign} {target}".rstrip())
    if arguments.json:
        print(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main()
