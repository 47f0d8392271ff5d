"""The pages of the links in letters: they use nothing up, tell nobody, and run our script alone."""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from auth.links import PAGES, Links, Purpose
from auth.models import User
from auth.settings import AuthSettings
from common.db import Database

Call = Callable[..., Awaitable[Any]]
OPERATIONS = {
    Purpose.VERIFY_EMAIL: "api/v1/auth/verify",
    Purpose.RESET_PASSWORD: "api/v1/auth/reset-password",
    Purpose.CHANGE_EMAIL: "api/v1/auth/confirm-email",
}


@pytest.mark.parametrize("purpose", Purpose)
async def test_a_page_is_kept_by_nobody_tells_nobody_and_runs_its_own_script_alone(
    purpose: Purpose, client: httpx.AsyncClient
) -> None:
    page = await client.get(f"/{PAGES[purpose]}")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    for tag in ("script", "style"):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digests = ["sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inline]
        assert [f"{tag}-src '{digest}';" in policy for digest in digests] == [True]


@pytest.mark.parametrize("purpose", Purpose)
async def test_a_page_sends_the_token_to_its_own_operation(purpose: Purpose, client: httpx.AsyncClient) -> None:
    page = (await client.get(f"/{PAGES[purpose]}")).text
    assert f'data-operation="{OPERATIONS[purpose]}"' in page
    assert ('type="password"' in page) is (purpose is Purpose.RESET_PASSWORD)
    answer = await client.post(f"/{OPERATIONS[purpose]}", json={})
    assert answer.status_code == 422  # it is there


async def test_looking_at_a_link_does_not_use_it_up(
    client: httpx.AsyncClient, user: User, database: Database, settings: AuthSettings
) -> None:
    async with database.transaction() as session:
        row = await Links(settings).issue(session, user, Purpose.VERIFY_EMAIL, user.email)
    link = Links(settings).url(row).removeprefix(settings.link_url)
    for method in ("GET", "HEAD"):
        await client.request(method, link)
    used = await client.post("/api/v1/auth/verify", json={"token": Links(settings).token(row)})
    assert used.status_code == 204
