"""Pictures over HTTP, on a real database and a real folder."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest
from litestar import Litestar
from PIL import Image

from auth.app import create_app
from auth.settings import AVATAR_BYTES, AuthSettings
from devstack.testing import eventually, running

PATH = "/api/v1/users/me/avatar"


def picture(colour: str = "red", kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def drawn(content: bytes) -> tuple[int, ...]:
    """The colour in the middle of a WebP of ours."""
    with Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
        assert image.size == (512, 512)
        pixel = image.convert("RGB").getpixel((256, 256))
        assert isinstance(pixel, tuple)
        return pixel


def lying(folder: Path) -> set[Path]:
    """What is in the folder."""
    return set(folder.iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state") / "avatars"


@pytest.fixture(scope="module")
async def app(settings: AuthSettings, folder: Path) -> Litestar:
    return create_app(msgspec.structs.replace(settings, object_store_url=folder.as_uri(), avatar_uploads=3))


@pytest.fixture(scope="module")
async def client(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    async with running(app) as http:
        yield http


class Person:
    """Somebody logged in."""

    def __init__(self, client: httpx.AsyncClient, user_id: str, token: str) -> None:
        self.client = client
        self.user_id = user_id
        self.headers = {"Authorization": f"Bearer {token}"}
        self.url = f"/api/v1/users/{user_id}/avatar"

    async def put(self, content: Any, kind: str = "image/png", **headers: str) -> httpx.Response:
        return await self.client.put(PATH, content=content, headers={**self.headers, "Content-Type": kind, **headers})


@pytest.fixture
async def someone(client: httpx.AsyncClient) -> Person:
    return await join(client)


async def join(client: httpx.AsyncClient) -> Person:
    name = f"driver_{uuid4().hex[:12]}"
    body = {"username": name, "email": f"{name}@example.com", "password": "Slipstream44"}
    made = await client.post("/api/v1/auth/register", json=body)
    assert made.status_code == 201, made.text
    tokens = await client.post("/api/v1/auth/login", json={"username": name, "password": "Slipstream44"})
    return Person(client, made.json()["id"], tokens.json()["access_token"])


@pytest.fixture
async def raw(settings: AuthSettings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.database_url, server_settings={"search_path": "auth"})
    yield connection
    await connection.close()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_a_picture_is_kept_as_a_square_webp_and_shown_to_anybody(someone: Person, kind: str) -> None:
    taken = await someone.put(picture("blue", kind), f"image/{kind.lower()}")
    assert taken.status_code == 200, taken.text
    assert taken.headers["cache-control"] == "no-store"
    shown = await someone.client.get(taken.json()["url"])
    assert taken.json() | {"created_at": ""} == {
        "url": someone.url,
        "width": 512,
        "height": 512,
        "size": len(shown.content),
        "created_at": "",
    }
    red, _, blue = drawn(shown.content)
    assert red < 20
    assert blue > 235


async def test_a_picture_leaves_a_browser_nothing_to_do_but_to_draw_it(someone: Person) -> None:
    await someone.put(picture())
    shown = await someone.client.get(someone.url)
    digest = hashlib.sha256(shown.content).hexdigest()
    assert shown.headers.get_list("content-type") == ["image/webp"]
    assert shown.headers.get_list("x-content-type-options") == ["nosniff"]
    assert shown.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert shown.headers["content-disposition"] == f'inline; filename="{digest[:16]}.webp"'
    assert shown.headers["etag"] == f'"{digest}"'
    assert shown.headers["cache-control"] == "public, max-age=300"


async def test_a_picture_that_is_known_is_not_sent_again(someone: Person) -> None:
    await someone.put(picture())
    tag = (await someone.client.get(someone.url)).headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await someone.client.get(someone.url, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await someone.client.get(someone.url, headers={"If-None-Match": '"other"'})).status_code == 200
    await someone.put(picture("green"))
    assert (await someone.client.get(someone.url, headers={"If-None-Match": tag})).status_code == 200


async def test_a_form_with_the_picture_does_as_well_and_what_it_says_of_it_counts_for_nothing(someone: Person) -> None:
    files = {"avatar": ("../../etc/passwd.html", picture("blue", "JPEG"), "text/html")}
    taken = await someone.client.put(PATH, files=files, headers=someone.headers)
    assert taken.status_code == 200, taken.text
    assert drawn((await someone.client.get(someone.url)).content)[2] > 235


@pytest.mark.parametrize("files", [{"picture": ("a.png", picture(), "image/png")}, [("avatar", ("", b"", ""))]])
async def test_a_form_without_the_picture_is_refused(someone: Person, files: Any) -> None:
    refused = await someone.client.put(PATH, files=files, headers=someone.headers)
    assert refused.status_code in {415, 422}, refused.text


FORM = "multipart/form-data; boundary=line"
PART = b'--line\r\nContent-Disposition: form-data; name="avatar"\r\n\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("text/html", picture(), 415, "unsupported_media_type"),
        ("", picture(), 415, "unsupported_media_type"),
        ("image/png", b"", 415, "unsupported_media_type"),
        ("image/png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_media_type"),
        ("image/png", picture(kind="GIF"), 415, "unsupported_media_type"),
        ("image/png", picture()[:60], 422, "image_unreadable"),
        ("image/png", picture(size=(4100, 4100)), 422, "image_too_large"),
        ("multipart/form-data", PART + picture() + b"\r\n--line--\r\n", 400, "malformed_request"),
        (FORM, PART + picture(), 400, "malformed_request"),
        (FORM, b"not a form", 400, "malformed_request"),
        (FORM, b"", 400, "malformed_request"),
        (FORM, PART + b"a\r\n" + PART + b"b\r\n--line--\r\n", 400, "malformed_request"),
        (FORM, PART.replace(b'"avatar"', b'"is_admin"') + b"true\r\n--line--\r\n", 422, "invalid_request"),
        (f"{FORM}{'x' * 3000}", PART, 400, "malformed_request"),
    ],
    ids=[*"abcdefghijklmn"],
)
async def test_what_is_no_picture_is_refused_and_changes_nothing(
    someone: Person, folder: Path, kind: str, body: bytes, status: int, code: str
) -> None:
    before = lying(folder)
    refused = await someone.put(body, kind)
    assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
    assert (await someone.client.get(someone.url)).status_code == 404
    assert lying(folder) == before


async def test_a_picture_with_a_name_of_its_own_replaces_the_one_before(someone: Person, folder: Path) -> None:
    before = lying(folder)
    await someone.put(picture("red"))
    (first,) = lying(folder) - before
    await someone.put(picture("blue"))
    (second,) = lying(folder) - before
    assert first.name != second.name
    assert len(second.stem) == 32
    assert second.stem not in {someone.user_id, UUID(someone.user_id).hex}
    assert drawn(second.read_bytes())[2] > 235


async def test_others_hear_of_a_new_picture_once_and_of_its_removal(someone: Person, raw: asyncpg.Connection) -> None:
    async def told() -> list[Any]:
        rows = await raw.fetch(
            "SELECT body FROM outbox WHERE subject LIKE '%user.updated' AND key = $1 ORDER BY id", someone.user_id
        )
        return [msgspec.json.decode(row["body"]) for row in rows]

    taken = await someone.put(picture())
    assert (await someone.put(picture())).json() == taken.json(), "the same picture again changes nothing"
    assert [event["avatar_url"] for event in await told()] == [someone.url]
    assert (await someone.client.delete(PATH, headers=someone.headers)).status_code == 204
    assert (await someone.client.delete(PATH, headers=someone.headers)).status_code == 204
    events = await told()
    assert [event["avatar_url"] for event in events] == [someone.url, None]
    assert events[0]["profile_version"] < events[1]["profile_version"]
    actions = await raw.fetch("SELECT action FROM audit WHERE target_id = $1 ORDER BY id", UUID(someone.user_id))
    assert [row["action"] for row in actions if row["action"].startswith("avatar")] == [
        "avatar.change",
        "avatar.remove",
    ]


async def test_a_picture_that_was_removed_is_gone(someone: Person, folder: Path) -> None:
    before = lying(folder)
    await someone.put(picture())
    await someone.client.delete(PATH, headers=someone.headers)
    assert lying(folder) == before
    gone = await someone.client.get(someone.url)
    assert (gone.status_code, gone.json()["code"]) == (404, "no_avatar")


async def test_of_many_pictures_at_once_one_stays_and_nothing_lies_about(
    someone: Person, folder: Path, raw: asyncpg.Connection
) -> None:
    before = lying(folder)
    colours = ("red", "green", "blue", "white", "black", "yellow")

    async def send(colour: str) -> None:
        async def taken() -> bool:
            return (await someone.put(picture(colour))).status_code == 200

        await eventually(taken, what="a place")

    await asyncio.gather(*(send(colour) for colour in colours))
    row = await raw.fetchrow("SELECT * FROM avatars WHERE user_id = $1", UUID(someone.user_id))
    (kept,) = lying(folder) - before
    assert (row["object_name"], row["size"]) == (kept.name, kept.stat().st_size)
    assert hashlib.sha256((await someone.client.get(someone.url)).content).digest() == row["digest"]


async def test_more_uploads_than_there_is_memory_for_are_told_to_come_back(someone: Person) -> None:
    begun, go = asyncio.Queue[None](), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield picture()[:20]
        begun.put_nowait(None)
        await go.wait()
        yield picture()[20:]

    waiting = [asyncio.create_task(someone.put(slow())) for _ in range(3)]
    for _ in waiting:
        await asyncio.wait_for(begun.get(), 10)
    refused = await someone.put(picture())
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "busy", "2")
    go.set()
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * 3
    assert (await someone.put(picture())).status_code == 200


class Endless:
    """A body without end, which counts what was taken of it."""

    def __init__(self, first: bytes) -> None:
        self.first = first
        self.given = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        piece = self.first.ljust(64 * 1024)
        while True:
            self.given += len(piece)
            yield piece
            piece = bytes(64 * 1024)


@pytest.mark.parametrize(("kind", "first"), [("image/png", b""), (FORM, PART)])
async def test_a_body_that_is_too_long_is_refused_having_read_little_more_than_may_be(
    someone: Person, kind: str, first: bytes
) -> None:
    body = Endless(first)
    refused = await someone.put(body, kind)
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")
    assert AVATAR_BYTES < body.given <= AVATAR_BYTES + 64 * 1024
    body = Endless(first)
    declared = await someone.put(body, kind, **{"Content-Length": str(AVATAR_BYTES + 1)})
    assert (declared.status_code, declared.json()["code"]) == (413, "body_too_large")
    assert body.given <= 64 * 1024, "what says itself that it is too long is not read at all"


async def test_the_longest_body_is_taken_and_one_byte_more_is_not(someone: Person) -> None:
    whole = picture("blue", "JPEG")
    assert (await someone.put(whole + bytes(AVATAR_BYTES - len(whole)))).status_code == 200
    assert (await someone.put(whole + bytes(AVATAR_BYTES - len(whole) + 1))).status_code == 413


async def test_a_lower_limit_of_the_settings_counts(settings: AuthSettings, someone: Person) -> None:
    async with running(create_app(msgspec.structs.replace(settings, avatar_bytes=1024))) as other:
        headers = someone.headers | {"Content-Type": "image/png"}
        assert (await other.put(PATH, content=picture() + bytes(1024), headers=headers)).status_code == 413
        assert (await other.put(PATH, content=picture(), headers=headers)).status_code == 200


async def test_pictures_are_counted_whatever_became_of_them(settings: AuthSettings, someone: Person) -> None:
    few = msgspec.structs.replace(settings, limit_avatar_account="2/3600")
    async with running(create_app(few)) as other:
        headers = someone.headers | {"Content-Type": "image/png"}
        answers = [await other.put(PATH, content=content, headers=headers) for content in (b"x", picture(), picture())]
        assert [answer.status_code for answer in answers] == [415, 200, 429]
        assert answers[-1].json()["code"] == "rate_limited"
        assert int(answers[-1].headers["retry-after"]) > 0


async def test_a_picture_of_a_private_profile_is_for_its_owner_alone(someone: Person) -> None:
    stranger = await join(someone.client)
    await someone.put(picture())
    wish = {"profile_visibility": "private"}
    changed = await someone.client.put("/api/v1/users/me/preferences", json=wish, headers=someone.headers)
    assert changed.status_code == 200, changed.text
    own = await someone.client.get(someone.url, headers=someone.headers)
    assert (own.status_code, own.headers["cache-control"]) == (200, "private, max-age=300")
    nobody = await someone.client.get(f"/api/v1/users/{uuid4()}/avatar")
    for headers in ({}, stranger.headers):
        hidden = await someone.client.get(someone.url, headers=headers)
        assert hidden.status_code == nobody.status_code == 404
        assert hidden.json() | {"request_id": ""} == nobody.json() | {"request_id": ""}


@pytest.mark.parametrize("column", ["deactivated_at", "deleted_at"])
async def test_a_picture_is_not_shown_and_not_changed_while_the_account_is_out_of_use(
    someone: Person, raw: asyncpg.Connection, folder: Path, column: str
) -> None:
    await someone.put(picture())
    before = lying(folder)
    await raw.execute(f"UPDATE users SET {column} = now() WHERE id = $1", UUID(someone.user_id))
    assert (await someone.client.get(someone.url)).status_code == 404
    assert (await someone.put(picture("blue"))).status_code == 401
    assert (await someone.client.delete(PATH, headers=someone.headers)).status_code == 401
    assert before <= lying(folder), "it is there when the account is restored; what was sent is for the sweep"
    await raw.execute(f"UPDATE users SET {column} = NULL WHERE id = $1", UUID(someone.user_id))
    assert (await someone.client.get(someone.url)).status_code == 200


async def test_a_token_is_needed_to_change_a_picture_and_a_bad_one_is_refused(someone: Person) -> None:
    for method in ("PUT", "DELETE"):
        assert (await someone.client.request(method, PATH)).status_code == 401
    refused = await someone.client.get(someone.url, headers={"Authorization": "Bearer none.such.token"})
    assert refused.status_code == 401


@pytest.mark.parametrize("damage", [None, b"", b"RIFF"])
async def test_a_damaged_object_is_never_served(someone: Person, folder: Path, damage: bytes | None) -> None:
    before = lying(folder)
    await someone.put(picture())
    (kept,) = lying(folder) - before
    kept.unlink() if damage is None else kept.write_bytes(damage)
    gone = await someone.client.get(someone.url)
    assert (gone.status_code, gone.json()["code"]) == (404, "no_avatar")


async def test_the_document_tells_how_to_send_a_picture(client: httpx.AsyncClient) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    body = document["paths"][PATH]["put"]["requestBody"]
    assert set(body["content"]) == {"image/jpeg", "image/png", "image/webp", "multipart/form-data"}
    assert body["content"]["multipart/form-data"]["schema"]["required"] == ["avatar"]
    assert body["required"] is True
    shown = document["paths"]["/api/v1/users/{user_id}/avatar"]["get"]["responses"]
    assert set(shown["200"]["content"]) == {"image/webp"}
