"""Which drivers and constructors there are to be a fan of, as `ingest` knows them."""

import asyncio
import time

import httpx
import msgspec
from msgspec import UNSET, UnsetType

from common.errors import FieldError, InvalidError, PaddockError, UnavailableError
from common.log import get_logger

log = get_logger(__name__)

KEPT_SECONDS = 300.0
"""How long a list is good; entries change a few times in a year."""
RETRY_SECONDS = 5
FETCH_SECONDS = 2.0
PAGE = 100
PAGES = 10


class _Item(msgspec.Struct, frozen=True):
    """A constructor has no ``driver_id``; a driver's ``constructor_id`` is whom they drive for."""

    constructor_id: str | None
    driver_id: str = ""


class _List(msgspec.Struct, frozen=True):
    total: int
    items: list[_Item]


class Favourites:
    """The ids of the latest season, kept for some minutes; when `ingest` is away, for as long as it is."""

    def __init__(self, ingest_url: str) -> None:
        self._url = ingest_url.rstrip("/")
        self._known: dict[str, frozenset[str]] = {}
        self._next_at: dict[str, float] = {}
        self._lock = asyncio.Lock()

    async def doubts(self, *, team: str | UnsetType | None, driver: str | UnsetType | None) -> dict[str, PaddockError]:
        """Tell what speaks against each wish: `InvalidError` for an unknown id, `UnavailableError` when none knows."""
        wishes = (("favorite_team", "constructors", team), ("favorite_driver", "drivers", driver))
        found = {}
        for field, kind, wanted in wishes:
            if wanted is UNSET or wanted is None:
                continue
            doubt = await self._doubt(field, kind, wanted)
            if doubt is not None:
                found[field] = doubt
        return found

    async def _doubt(self, field: str, kind: str, wanted: str) -> PaddockError | None:
        known = await self._ids(kind)
        if wanted in known:
            return None
        if not known:
            detail = f"The {kind} of the season are not known right now. Try again shortly."
            return UnavailableError("favorites_unknown", detail, retry_after=RETRY_SECONDS)
        fault = FieldError(field=field, message=f"is not among the {kind} of the season")
        return InvalidError("unknown_favorite", f"There is no such {kind.removesuffix('s')}.", errors=[fault])

    async def _ids(self, kind: str) -> frozenset[str]:
        async with self._lock:
            if time.monotonic() >= self._next_at.get(kind, float("-inf")):
                fetched = await self._fetch(kind)
                self._known[kind] = fetched or self._known.get(kind, frozenset())
                self._next_at[kind] = time.monotonic() + (KEPT_SECONDS if fetched else RETRY_SECONDS)
            return self._known[kind]

    async def _fetch(self, kind: str) -> frozenset[str]:
        """Return the ids of the latest season; none when `ingest` is away, or has no season yet."""
        ids: set[str] = set()
        try:
            async with httpx.AsyncClient(base_url=self._url, timeout=FETCH_SECONDS) as client:
                for page in range(PAGES):
                    query = {"skip": page * PAGE, "limit": PAGE}
                    response = (await client.get(f"/api/v1/{kind}", params=query)).raise_for_status()
                    listed = msgspec.json.decode(response.content, type=_List)
                    ids |= {found for item in listed.items if (found := item.driver_id or item.constructor_id)}
                    if (page + 1) * PAGE >= listed.total:
                        break
        except (httpx.HTTPError, msgspec.MsgspecError) as error:
            log.warning("list not fetched", kind=kind, error=repr(error))
            return frozenset()
        return frozenset(ids)
