"""Who a token speaks for, and every token that speaks for nobody."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from litestar import Litestar
from sqlalchemy import text

from common import clock
from common.db import Database
from common.security import TokenVerifier
from devstack.testing import TokenMaker

PATHS = ("/api/v1/auth/me", "/api/v1/users/me")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", PATHS)
async def test_the_owner_of_a_token_sees_the_account(
    client: httpx.AsyncClient, account: dict[str, str], log_in: Any, path: str
) -> None:
    tokens = await log_in()
    response = await client.get(path, headers=bearer(tokens["access_token"]))
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    told = {"id", "username", "email", "email_verified", "full_name", "phone", "avatar_url", "version"}
    assert set(body) == told | {"created_at", "updated_at"}
    assert (body["username"], body["email"], body["full_name"]) == (account["username"], account["email"], None)


async def bad_tokens(app: Litestar, good: str, tokens: TokenMaker) -> dict[str, str]:
    signer = await app.state.signing_keys.signer()
    claims = jwt.decode(good, options={"verify_signature": False})
    head = {"kid": signer.key_id, "typ": "at+jwt"}
    now = clock.now()
    raw = signer.private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def signed(changes: dict[str, Any] | None = None, **header: str | None) -> str:
        kept = {name: value for name, value in (claims | (changes or {})).items() if value is not None}
        headers = {name: value for name, value in (head | header).items() if value is not None}
        return jwt.encode(kept, signer.private_key, "EdDSA", headers=headers)

    head_part, _, signature = good.split(".")
    other_claims = signed({"sub": str(uuid4())}).split(".")[1]
    return {
        "garbage": "a.b.c",
        "two parts": good.rsplit(".", 1)[0],
        "no signature": good.rsplit(".", 1)[0] + ".",
        "tampered signature": good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB"),
        "tampered claims": f"{head_part}.{other_claims}.{signature}",
        "none algorithm": jwt.encode(claims, "", "none", headers=head),
        "public key as secret": jwt.encode(claims, raw.hex(), "HS256", headers=head),
        "another key": jwt.encode(claims, Ed25519PrivateKey.generate(), "EdDSA", headers=head),
        "another issuer's key": tokens.make(),
        "unknown key id": signed(kid=uuid4().hex),
        "key id of a path": signed(kid="../../etc/passwd"),
        "key id of SQL": signed(kid="' OR 1=1 --"),
        "no key id": signed(kid=None),
        "type JWT": signed(typ="JWT"),
        "no type": signed(typ=None),
        "own key enclosed": jwt.encode(
            claims,
            tokens.private_key,
            "EdDSA",
            headers={**head, "jwk": tokens.jwks["keys"][0], "jku": f"{tokens.url}/.well-known/jwks.json"},
        ),
        "critical extension": jwt.encode(
            claims, signer.private_key, "EdDSA", headers={**head, "crit": ["unknown"], "unknown": 1}
        ),
        "expired": signed({"exp": now - timedelta(minutes=1)}),
        "no expiry": signed({"exp": None}),
        "not yet valid": signed({"nbf": now + timedelta(minutes=5)}),
        "from the future": signed({"iat": now + timedelta(minutes=5)}),
        "other audience": signed({"aud": "elsewhere"}),
        "no audience": signed({"aud": None}),
        "other issuer": signed({"iss": "elsewhere"}),
        "no issuer": signed({"iss": None}),
        "no subject": signed({"sub": None}),
        "odd subject": signed({"sub": "root"}),
        "no token id": signed({"jti": None}),
        "no name": signed({"username": None}),
        "user who is gone": signed({"sub": str(uuid4())}),
        "oversize": signed({"padding": "x" * 65_536}),
    }


async def test_every_bad_token_is_refused_with_the_same_words(
    client: httpx.AsyncClient, app: Litestar, log_in: Any, tokens: TokenMaker
) -> None:
    pair = await log_in()
    bad = await bad_tokens(app, pair["access_token"], tokens) | {"refresh token": pair["refresh_token"]}
    answers = set()
    for path in PATHS:
        for name, token in bad.items():
            response = await client.get(path, headers=bearer(token))
            assert response.status_code == 401, name
            assert response.headers["www-authenticate"] == "Bearer"
            problem = response.json()
            answers.add((problem["code"], problem["detail"], problem["title"]))
    assert len(answers) == 1
    assert answers.pop()[0] == "invalid_token"


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Basic YTpi"}]
)
async def test_without_a_token_nobody_is_there(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    for path in PATHS:
        response = await client.get(path, headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, "invalid_token")


async def test_the_token_of_an_account_that_is_gone_is_refused(
    client: httpx.AsyncClient, account: dict[str, str], log_in: Any, database: Database
) -> None:
    tokens = await log_in()
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM users WHERE username = :name"), {"name": account["username"]})
    assert (await client.get(PATHS[0], headers=bearer(tokens["access_token"]))).status_code == 401
    refreshed = await client.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert refreshed.status_code == 401


class Fetched:
    """The keys as another service has them."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(document).keys}
        self.changes = 0

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        return self._keys.get(key_id)


async def test_another_service_verifies_our_tokens_with_the_published_keys(
    client: httpx.AsyncClient, account: dict[str, str], log_in: Any
) -> None:
    response = await client.get("/.well-known/jwks.json")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "public, max-age=60"
    assert all(set(key) == {"kty", "crv", "x", "kid", "alg", "use"} for key in response.json()["keys"])
    verifier = TokenVerifier("paddock", "paddock-api", Fetched(response.json()))
    principal = await verifier.verify((await log_in())["access_token"])
    assert principal.username == account["username"]


async def test_a_user_cannot_change_the_account_by_other_methods(client: httpx.AsyncClient, log_in: Any) -> None:
    headers = bearer((await log_in())["access_token"])
    for method, path in (("POST", PATHS[1]), ("POST", PATHS[0]), ("PUT", PATHS[0]), ("PATCH", PATHS[0])):
        response = await client.request(method, path, json={"is_admin": True}, headers=headers)
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
