"""Admins of the tests, with tokens as a login gives them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from litestar import Litestar

from auth import admins, audit, jwts
from auth.admin_scopes import ADMIN_SCOPES
from auth.admins import NewAdmin
from auth.jwts import Bearer
from auth.keys import SigningKeys
from auth.origin import OPERATOR
from auth.passwords import PasswordHasher
from auth.settings import AuthSettings
from common import clock
from common.db import Database

PASSWORD = "Scrutineer-2026"


@dataclass(frozen=True)
class Boss:
    """An admin and the headers of their requests."""

    id: UUID
    username: str
    email: str
    headers: dict[str, str]


MakeBoss = Callable[..., Awaitable[Boss]]


@pytest.fixture(scope="session")
async def password_hash(settings: AuthSettings) -> str:
    return await PasswordHasher(settings).hash(PASSWORD)


@pytest.fixture(scope="session")
async def make_boss(app: Litestar, settings: AuthSettings, database: Database, password_hash: str) -> MakeBoss:
    """Make an admin with these scopes, or with all."""

    async def make(*scopes: str, every: bool = False) -> Boss:
        name = f"boss_{uuid4().hex[:12]}"
        new = NewAdmin(
            username=name,
            email=f"{name}@example.com",
            scopes=frozenset(ADMIN_SCOPES if every else scopes),
        )
        async with database.transaction() as session:
            admin = await admins.add(session, new, password_hash, actor=audit.OPERATOR, origin=OPERATOR)
        keys: SigningKeys = app.state.signing_keys
        bearer = Bearer(id=admin.id, username=name, session_id=uuid4(), verified=False, scopes=frozenset(new.scopes))
        token = jwts.access_token(
            await keys.signer(),
            bearer,
            issuer=settings.token_issuer,
            audience=settings.token_admin_audience,
            issued_at=clock.now(),
            life=timedelta(minutes=15),
        )
        return Boss(id=admin.id, username=name, email=new.email, headers={"Authorization": f"Bearer {token}"})

    return make


@pytest.fixture(scope="session")
async def boss(make_boss: MakeBoss) -> Boss:
    """An admin who may do everything."""
    return await make_boss(every=True)
