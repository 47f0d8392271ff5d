"""The schema: up, down, up again, and never other than the models say."""

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import make_url

from auth.models import metadata
from auth.settings import AuthSettings
from common import migrate


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'auth'")
    await connection.close()
    return {row["tablename"] for row in rows}


async def test_migrations_go_up_down_and_up_again_without_drift(fresh_settings: AuthSettings) -> None:
    url = fresh_settings.database_url
    await migrate.check("auth", url)
    everything = {*metadata.tables, "alembic_version"}
    assert await tables(url) == everything
    await migrate.downgrade("auth", url)
    assert await tables(url) == {"alembic_version"}
    await migrate.upgrade("auth", url)
    assert await tables(url) == everything
    await migrate.check("auth", url)


@pytest.mark.parametrize("schema", [name for name in migrate.SERVICES if name != "auth"])
async def test_the_role_of_auth_is_refused_on_every_other_schema(settings: AuthSettings, schema: str) -> None:
    connection = await asyncpg.connect(settings.database_url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(f"CREATE TABLE {schema}.trespass (id int)")
    await connection.close()
    assert make_url(settings.database_url).username == "paddock_auth"


async def test_the_document_tells_every_status_and_both_bodies_of_a_login(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/schema/openapi.json")).json()["paths"]
    statuses = {
        f"{method} {path}": set(operation["responses"])
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    wanted = {
        "post /api/v1/auth/register": {"201", "400", "409", "413", "422", "429", "503"},
        "post /api/v1/auth/login": {"200", "400", "401", "403", "413", "415", "422", "423", "429", "503"},
        "post /api/v1/admin/auth/login": {"200", "400", "401", "403", "413", "415", "422", "423", "429", "503"},
        "post /api/v1/auth/refresh": {"200", "400", "401", "413", "422", "429", "503"},
        "get /api/v1/auth/me": {"200", "401", "403", "503"},
        "get /api/v1/users/me": {"200", "401", "403", "503"},
        "get /api/v1/admin/me": {"200", "401", "403", "503"},
        "get /.well-known/jwks.json": {"200", "503"},
    }
    assert {call: statuses[call] for call in wanted} == wanted
    content = paths["/api/v1/auth/login"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "application/x-www-form-urlencoded"}
    assert content["application/json"] == content["application/x-www-form-urlencoded"]
