"""The people of the matrix, and the season they play in."""

from datetime import timedelta
from typing import Any

import httpx
import msgspec

from attack.people import People, Person
from attack.world import World
from common import clock
from common.contracts.ingest import Constructor, Driver, Race, SeasonSynced, Session, SessionKind, Stint
from common.contracts.scoring import AssetKind, AssetPrice, PricesChanged
from devstack.testing import eventually

SEASON = 2026
DRIVERS = ["albon", "alonso", "gasly", "hamilton", "leclerc"]
CONSTRUCTORS = ["ferrari", "mclaren"]
ROLES = ("anonymous", "owner", "other", "deactivated", "unverified", "scopeless", "admin")
SEEN_BY = {"auth": "/api/v1/users/me", "leagues": "/api/v1/teams", "webhooks": "/api/v1/webhooks"}
"""Where it shows that a service has heard of the end of a session."""


class Cast(msgspec.Struct, frozen=True, kw_only=True):
    """Who is there. `scopeless` is the owner with a token that lacks the one scope that counts."""

    owner: Person
    other: Person
    deactivated: Person
    unverified: Person
    admin: Person


def season() -> SeasonSynced:
    """Three weekends ahead of us."""
    now = clock.now()
    races = [
        Race(
            race_id=f"{SEASON}-circuit{number}",
            round=number,
            name=f"Grand Prix {number}",
            circuit_id=f"circuit{number}",
            circuit_name="Circuit",
            locality="Town",
            country="Country",
            sprint=False,
            sessions=[
                Session(kind=SessionKind.QUALIFYING, starts_at=now + timedelta(days=7 * number)),
                Session(kind=SessionKind.RACE, starts_at=now + timedelta(days=7 * number + 1)),
            ],
        )
        for number in (1, 2, 3)
    ]
    return SeasonSynced(
        season=SEASON,
        season_version=1,
        simulated=True,
        races=races,
        drivers=[
            Driver(driver_id=one, given_name=one, family_name=one, code=None, number=None, nationality=None)
            for one in DRIVERS
        ],
        constructors=[Constructor(constructor_id=one, name=one, nationality=None) for one in CONSTRUCTORS],
        stints=[
            Stint(driver_id=one, constructor_id=CONSTRUCTORS[place % 2], from_round=1, to_round=None)
            for place, one in enumerate(DRIVERS)
        ],
    )


def prices() -> PricesChanged:
    """Whatever can be picked costs the same."""
    drivers = [AssetPrice(kind=AssetKind.DRIVER, asset_id=one, price=100) for one in DRIVERS]
    teams = [AssetPrice(kind=AssetKind.CONSTRUCTOR, asset_id=one, price=200) for one in CONSTRUCTORS]
    return PricesChanged(season=SEASON, effective_round=1, price_version=1, prices=[*drivers, *teams])


async def assemble(world: World, people: People) -> Cast:
    """Let a season begin and people come, of whom one is deactivated as an admin does it."""
    for service in ("leagues", "scoring", "analytics"):
        await world.feed(service, season(), prices())
    admin = await people.admin()
    cast = Cast(
        owner=await people.user(),
        other=await people.user(),
        deactivated=await people.user(),
        unverified=await people.user(verified=False),
        admin=admin,
    )
    path = f"{world.urls['auth']}/api/v1/admin/users/{cast.deactivated.id}/deactivate"
    answer = await world.http.post(path, headers=admin.headers, json={})
    if answer.status_code != httpx.codes.OK:
        raise AssertionError(answer.text)
    await eventually(lambda: _refused(world, cast.deactivated), seconds=20, what="a refusal by everybody")
    return cast


async def _refused(world: World, person: Person) -> bool:
    urls: list[Any] = [world.urls[service] + path for service, path in SEEN_BY.items()]
    urls += [f"{world.urls['scoring']}/api/v1/leagues/{person.id}/leaderboard"]
    urls += [f"{world.urls['gateway']}/api/v1/teams"]
    return {(await world.http.get(url, headers=person.headers)).status_code for url in urls} == {401}
