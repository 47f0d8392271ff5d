"""One suite for wherever pictures are kept: a folder, and a server that speaks S3 over HTTP."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from socket import create_server
from uuid import uuid4

import httpx
import msgspec
import pytest
from moto.server import ThreadedMotoServer

from auth import avatars
from auth.models import Avatar, User
from auth.objects import YOUNG, Objects, sweep
from auth.settings import AuthSettings
from common import clock
from common.db import Database
from common.errors import UnavailableError

SECRET = "gridwalk-secret"
LATER = timedelta(minutes=1)


def bucket(url: str, endpoint: str) -> AuthSettings:
    return AuthSettings(
        object_store_url=url, s3_endpoint=endpoint, s3_access_key_id="gridwalk", s3_secret_access_key=SECRET
    )


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server with the bucket ``paddock``."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    httpx.put(f"{url}/paddock", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/a"})
    yield url
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> AuthSettings:
    """The settings of an empty store."""
    if request.param == "folder":
        return AuthSettings(object_store_url=(tmp_path / "a folder" / "avatars").as_uri())
    return bucket(f"s3://paddock/{uuid4().hex}/avatars", request.getfixturevalue("s3"))


@pytest.fixture
def objects(store: AuthSettings) -> Objects:
    return Objects(store)


async def names(objects: Objects, *, later: timedelta = LATER) -> set[str]:
    return {name async for page in objects.names(before=clock.now() + later) for name in page}


async def nothing(_: Collection[str]) -> Collection[str]:
    return ()


async def test_what_is_stored_is_read_as_it_was(objects: Objects) -> None:
    for content in (b"RIFF", bytes(range(256)) * 1000, b""):
        assert await objects.read(await objects.add(content)) == content


async def test_a_name_is_random_and_says_nothing(objects: Objects) -> None:
    made = {await objects.add(b"same") for _ in range(20)}
    assert len(made) == 20
    assert all(len(name) == 37 and name.endswith(".webp") and int(name[:32], 16) >= 0 for name in made)
    assert await names(objects) == made


async def test_what_was_never_there_is_not_there(objects: Objects) -> None:
    assert await objects.read("0" * 32 + ".webp") is None
    assert await names(objects) == set()


async def test_what_is_removed_is_gone_and_removing_it_again_is_fine(objects: Objects) -> None:
    kept, gone = await objects.add(b"kept"), await objects.add(b"gone")
    for _ in range(2):
        await objects.remove(gone)
        assert await objects.read(gone) is None
    assert await objects.read(kept) == b"kept"


async def test_no_name_leads_out_of_the_store(objects: Objects) -> None:
    with pytest.raises((UnavailableError, ValueError)):
        await objects.read("../../etc/passwd")


async def test_another_process_with_the_same_settings_sees_the_same(objects: Objects, store: AuthSettings) -> None:
    name = await objects.add(b"shared")
    assert await Objects(store).read(name) == b"shared"


async def test_many_at_once_are_all_there(objects: Objects) -> None:
    contents = [bytes([index]) * 50_000 for index in range(40)]
    made = await asyncio.gather(*(objects.add(content) for content in contents))
    assert await asyncio.gather(*(objects.read(name) for name in made)) == contents


async def test_a_reader_sees_a_whole_object_or_none(objects: Objects) -> None:
    content, seen = os.urandom(2_000_000), set[int]()
    writing = asyncio.create_task(objects.add(content))
    while not writing.done():
        for name in await names(objects):
            found = await objects.read(name)
            seen.add(len(found or b""))
    assert seen <= {len(content)}
    assert await objects.read(await writing) == content


async def test_the_young_are_not_listed_among_the_old(objects: Objects) -> None:
    await objects.add(b"young")
    assert await names(objects, later=-LATER) == set()


async def test_a_sweep_removes_what_nobody_wants_and_spares_what_is_wanted_or_young(objects: Objects) -> None:
    made = [await objects.add(b"x") for _ in range(6)]

    async def wanted(asked: Collection[str]) -> Collection[str]:
        return [name for name in asked if name in made[:2]]

    assert await sweep(objects, wanted, now=clock.now(), limit=100) == 0
    assert await names(objects) == set(made)
    later = clock.now() + YOUNG + LATER
    assert await sweep(objects, wanted, now=later, limit=3) == 3
    assert await sweep(objects, wanted, now=later, limit=100) == 1
    assert await names(objects) == set(made[:2])


async def test_a_sweep_looks_at_every_page(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auth.objects.PAGE", 4)
    await asyncio.gather(*(objects.add(b"x") for _ in range(11)))
    assert await sweep(objects, nothing, now=clock.now() + YOUNG + LATER, limit=100) == 11
    assert await names(objects) == set()


DIES = """
import asyncio, os, signal, sys
import msgspec
from auth.objects import Objects
from auth.settings import AuthSettings

async def main():
    objects = Objects(msgspec.json.decode(sys.argv[1], type=AuthSettings))
    print(await objects.add(b"never committed"), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_process_killed_before_its_commit_leaves_what_the_sweep_finds(
    objects: Objects, store: AuthSettings, database: Database
) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DIES, msgspec.json.encode(store).decode()), stdout=subprocess.PIPE
    )
    told, _ = await child.communicate()
    assert child.returncode == -signal.SIGKILL
    orphan, kept = told.decode().strip(), await objects.add(b"committed")
    assert await names(objects) == {orphan, kept}
    now, user_id = clock.now(), uuid4()
    async with database.transaction() as session:
        hex_name = uuid4().hex
        session.add(
            User(id=user_id, username=hex_name, email=f"{hex_name}@example.com", password_hash="", created_at=now)
        )
        await session.flush()
        session.add(Avatar(user_id=user_id, object_name=kept, digest=b"", size=9, created_at=now))
    later = now + YOUNG + LATER
    assert await avatars.sweep(database, objects, now) == 0
    assert await avatars.sweep(database, objects, later) == 1
    assert await names(objects) == {kept}
    async with database.transaction() as session:
        assert await avatars.forget(session, user_id) == kept
    assert await avatars.sweep(database, objects, later) == 1
    assert await names(objects) == set()


async def test_a_file_that_was_never_finished_is_no_object_and_is_swept(tmp_path: Path) -> None:
    objects = Objects(AuthSettings(object_store_url=tmp_path.as_uri()))
    await objects.add(b"whole")
    half = tmp_path / f"{uuid4().hex}.webp#1"
    half.write_bytes(b"hal")
    assert len(await names(objects)) == 1
    assert await sweep(objects, nothing, now=clock.now(), limit=100) == 0
    assert half.exists()
    assert await sweep(objects, nothing, now=clock.now() + YOUNG + LATER, limit=100) == 2
    assert not half.exists()


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with closing(create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        return f"http://127.0.0.1:{port}"


async def test_a_store_that_is_away_is_told_as_such_and_soon(nobody: str) -> None:
    objects = Objects(bucket("s3://paddock/avatars", nobody))
    for doing in (objects.add(b"x"), objects.read("x.webp"), objects.remove("x.webp"), names(objects)):
        async with asyncio.timeout(10):
            with pytest.raises(UnavailableError) as refused:
                await doing
        assert (refused.value.code, refused.value.retry_after) == ("pictures_unavailable", 2)


async def test_a_bucket_that_is_not_there_is_told_without_its_name(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    objects = Objects(bucket("s3://no-such-bucket/avatars", s3))
    with pytest.raises(UnavailableError) as refused:
        await objects.add(b"x")
    assert "bucket" not in refused.value.detail
    assert SECRET not in capsys.readouterr().out
