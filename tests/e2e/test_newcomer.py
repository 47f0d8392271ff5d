"""A newcomer's first day through the gateway, letters and picture included, to the last one and back."""

import asyncio
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from devstack.stack import Stack
from devstack.testing import eventually

pytestmark = pytest.mark.e2e

ADDRESS = "newcomer@example.org"
FIRST, SECOND, CHIEF = "Tyres-Hot-99", "Tyres-Cold-88", "Chequered-Flag-77"


def photograph() -> bytes:
    """A picture with a place in it."""
    exif = Image.Exif()
    exif[0x010F] = "Pit Wall Optics"
    file = io.BytesIO()
    Image.effect_noise((1600, 1200), 80).convert("RGB").save(file, "JPEG", exif=exif.tobytes())
    return file.getvalue()


async def link_of(stack: Stack, subject: str) -> str:
    """Wait for a letter to the newcomer and return the token of its link."""
    async with httpx.AsyncClient(base_url=stack.mailbox_url) as mailbox:

        async def came() -> Any:
            items = (await mailbox.get("/messages", params={"to": ADDRESS})).json()["items"]
            return [link for item in items for link in item["links"] if subject in link]

        links = await eventually(came, seconds=30, what=f"a letter with a link to {subject}")
    token = re.search(r"#token=([\w-]+)", links[0])
    assert token, links
    return token[1]


async def chief_of(stack: Stack, http: httpx.AsyncClient, secret: Path) -> dict[str, str]:
    """Make the first admin as an operator does, and log in."""
    await asyncio.to_thread(secret.write_text, CHIEF)
    environment = {"DATABASE_URL": stack.addresses.database_url_of("auth"), "NATS_URL": stack.nats_url}
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "paddock", "create-admin", "--username", "chief", "--email", "chief@example.org"),
        *("--password-file", str(secret)),
        env={**os.environ, **environment, "AUTH_BCRYPT_COST": "4"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    told, _ = await made.communicate()
    assert made.returncode == 0, told.decode()
    tokens = await http.post("/api/v1/admin/auth/login", json={"username": "chief", "password": CHIEF})
    assert tokens.status_code == 200, tokens.text
    return {"Authorization": f"Bearer {tokens.json()['access_token']}"}


@pytest.mark.timeout(240)
async def test_a_newcomer_is_proved_pictured_and_served_and_comes_back_after_leaving(
    stacks: Callable[..., Stack], player_at: Callable[[Stack, str], Any], tmp_path: Path
) -> None:
    stack = stacks(seed=5, rounds="1", start=datetime.now(UTC) + timedelta(days=1))
    someone = player_at(stack, "newcomer")
    await someone.enter()
    assert (await someone.get("/users/me"))["avatar_url"] is None
    await someone.call("POST", "/auth/verify", 204, json={"token": await link_of(stack, "/verify")})
    assert (await someone.get("/users/me"))["email_verified"] is True

    form = {"avatar": ("../../me.html", photograph(), "text/html")}
    taken = await someone.call("PUT", "/users/me/avatar", 200, files=form)
    me = await someone.get("/users/me")
    assert me["avatar_url"] == taken["url"]
    shown = await someone.http.get(taken["url"])
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/webp")
    assert shown.headers.get_list("x-content-type-options") == ["nosniff"]
    assert "sandbox" in shown.headers["content-security-policy"]
    assert shown.headers["cache-control"] == "public, max-age=300"
    assert b"Pit Wall" not in shown.content
    known = {"If-None-Match": shown.headers["etag"]}
    assert (await someone.http.get(taken["url"], headers=known)).status_code == 304
    kept = await asyncio.to_thread(lambda: list((stack.addresses.home / "avatars").iterdir()))
    assert [await asyncio.to_thread(path.read_bytes) for path in kept] == [shown.content]

    await someone.call("PUT", "/users/me/preferences", 200, json={"theme": "dark", "profile_visibility": "private"})
    assert (await someone.http.get(taken["url"])).status_code == 404

    wanted = {"name": "pit wall", "scopes": ["account:read"], "expires_in_days": 1}
    program = {"Authorization": f"Bearer {(await someone.call('POST', '/users/me/tokens', 201, json=wanted))['token']}"}
    assert (await someone.http.get(taken["url"], headers=program)).status_code == 200
    refused = await someone.http.put("/api/v1/users/me/avatar", content=photograph(), headers=program)
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")

    change = {"current_password": FIRST, "new_password": SECOND}
    await someone.call("PUT", "/users/me/password", 204, json=change)
    export = await someone.http.get("/api/v1/users/me/export", headers={"Authorization": someone.bearer})
    assert export.status_code == 200, export.text
    assert "account.json" in zipfile.ZipFile(io.BytesIO(export.content)).namelist()

    await someone.call("DELETE", "/users/me", 204, json={"current_password": SECOND})
    credentials = {"username": "newcomer", "password": SECOND}
    assert (await someone.http.post("/api/v1/auth/login", json=credentials)).status_code == 401
    chief = await chief_of(stack, someone.http, tmp_path / "secret")
    back = await someone.http.post(f"/api/v1/admin/users/{me['id']}/restore", headers=chief)
    assert back.status_code in {200, 201, 204}, back.text
    someone.tokens = {}
    someone.tokens = await someone.call("POST", "/auth/login", 200, json=credentials)
    assert (await someone.get("/users/me"))["avatar_url"] == taken["url"]
    again = await someone.http.get(taken["url"], headers={"Authorization": someone.bearer})
    assert again.content == shown.content
