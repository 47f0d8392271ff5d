"""Who calls: users with accounts that they opened themselves, and an admin."""

from typing import Any
from uuid import UUID, uuid4

import jwt
import msgspec

from attack.world import World
from auth import admins
from auth.admin_scopes import ADMIN_SCOPES
from auth.jwts import Bearer
from auth.scopes import SCOPES

LOGIN, ADMIN_LOGIN = "/api/v1/auth/login", "/api/v1/admin/auth/login"
PASSWORD = "Slipstream-44-ahead"


class Person(msgspec.Struct, kw_only=True):
    """Somebody with a token."""

    id: UUID
    username: str
    email: str
    token: str
    refresh: str
    session_id: UUID

    @property
    def headers(self) -> dict[str, str]:
        """The header of their requests."""
        return {"Authorization": f"Bearer {self.token}"}


class People:
    """Makes them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._admin: Person | None = None

    async def user(self, *, verified: bool = True) -> Person:
        """Register and log in."""
        name = f"player_{uuid4().hex[:12]}"
        account = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
        await self._post("/api/v1/auth/register", 201, account)
        if verified:
            await self.world.rows(
                "auth", "UPDATE users SET email_verified_at = now() WHERE username = :name", name=name
            )
        ((user_id,),) = await self.world.rows("auth", "SELECT id FROM users WHERE username = :name", name=name)
        return await self.log_in(name, email=account["email"], user_id=user_id)

    async def log_in(self, name: str, *, email: str, user_id: UUID, path: str = LOGIN) -> Person:
        """Start a session."""
        tokens = await self._post(path, 200, {"username": name, "password": PASSWORD})
        claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
        return Person(
            id=user_id,
            username=name,
            email=email,
            token=tokens["access_token"],
            refresh=tokens["refresh_token"],
            session_id=UUID(claims["sid"]),
        )

    async def admin(self) -> Person:
        """Return the admin, who may do everything."""
        if self._admin is None:
            self._admin = await self.new_admin()
        return self._admin

    async def new_admin(self) -> Person:
        """Make another."""
        auth = self.world.apps["auth"].state
        name = f"marshal_{uuid4().hex[:12]}"
        new = admins.NewAdmin(username=name, email=f"{name}@example.org", scopes=frozenset(ADMIN_SCOPES))
        await admins.appoint(auth.database, auth.hasher, new, PASSWORD, another=True)
        ((admin_id,),) = await self.world.rows("auth", "SELECT id FROM admins WHERE username = :name", name=name)
        return await self.log_in(name, email=new.email, user_id=admin_id, path=ADMIN_LOGIN)

    async def limited(self, person: Person, without: str) -> Person:
        """Return the person with a token that has every scope but one."""
        scopes = frozenset(SCOPES) - {without}
        bearer = Bearer(
            id=person.id, username=person.username, session_id=person.session_id, verified=True, scopes=scopes
        )
        return msgspec.structs.replace(person, token=await self.world.sign(bearer))

    async def _post(self, path: str, status: int, body: Any) -> Any:
        response = await self.world.http.post(self.world.urls["auth"] + path, json=body)
        if response.status_code != status:
            raise AssertionError(f"{path}: {response.status_code} {response.text}")
        return response.json()
