"""The client of Jolpica: whole documents or an error, never a part.

Paging counts rows, so a race can be split over two pages. A document is read page by page and put together; a page with
fewer rows than its own numbers promise is asked for again, and so is the whole document when its pages disagree.
"""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import httpx
import msgspec
import stamina
from opentelemetry.trace import SpanKind

from common import telemetry
from ingest import upstream
from ingest.budget import Budget
from ingest.settings import IngestSettings
from ingest.upstream import Constructor, Data, Driver, DriverStanding, QualifyingRow, Race, ResultRow

PAGE_ROWS = 100
"""What the upstream caps a page at."""
BODY_BYTES = 4 * 1024 * 1024
PAGES = 50
DOCUMENT_TRIES = 3
CONNECT_SECONDS = 5.0
WAIT_MAX_SECONDS = 30.0

RowT = TypeVar("RowT")
Key = Hashable


class UpstreamError(Exception):
    """The upstream did not give a document."""


class AwayError(UpstreamError):
    """No answer, or one that says to come back later: refused connection, timeout, 429, 5xx."""


class UnreadableError(UpstreamError):
    """A body that is cut off, not JSON, of another shape, or short of rows."""


class DisagreeError(UpstreamError):
    """The pages of one document do not fit together; it changed while it was read."""


class MissingError(UpstreamError):
    """There is no such document: 404."""


class RefusedError(UpstreamError):
    """The request is not acceptable: any other 4xx."""


class Body(msgspec.Struct, frozen=True):
    """One answer as it came, for the archive."""

    path: str
    content: bytes
    content_hash: str
    """SHA-256, in hex."""


class Document(msgspec.Struct, Generic[RowT], frozen=True, kw_only=True):
    """All rows of a document."""

    rows: tuple[RowT, ...]
    bodies: tuple[Body, ...]
    simulated: bool
    """Whether the upstream says that it invented this."""


class Jolpica:
    """Asks the upstream, within its limits."""

    def __init__(self, settings: IngestSettings) -> None:
        self._budget = Budget(settings.requests_per_second, settings.requests_per_hour)
        self._attempts = settings.retry_attempts
        self._wait = settings.retry_wait_seconds
        self._http = httpx.AsyncClient(
            base_url=settings.jolpica_url.rstrip("/") + "/",
            timeout=httpx.Timeout(settings.request_timeout_seconds, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=1),
            headers={"User-Agent": "paddock-ingest", "Accept": "application/json"},
            follow_redirects=True,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def calendar(self, season: str) -> Document[Race]:
        """Ask for the races of a season, a year or ``current``."""
        return await self._document(f"{season}.json", lambda page: [(race.round, race) for race in _races(page)])

    async def drivers(self, season: int) -> Document[Driver]:
        """Ask for the drivers of a season."""
        return await self._document(f"{season}/drivers.json", _driver_rows)

    async def constructors(self, season: int) -> Document[Constructor]:
        """Ask for the constructors of a season."""
        return await self._document(f"{season}/constructors.json", _constructor_rows)

    async def drivers_of(self, season: int, constructor_id: str) -> Document[Driver]:
        """Ask for the drivers that drive, or have driven, for a constructor in a season."""
        return await self._document(f"{season}/constructors/{constructor_id}/drivers.json", _driver_rows)

    async def driver_standings(self, season: int) -> Document[DriverStanding]:
        """Ask for the latest drivers' standings of a season."""
        return await self._document(f"{season}/driverstandings.json", _standing_rows)

    async def results(self, season: int, number: int) -> Document[tuple[Race, ResultRow]]:
        """Ask for the race of a round; no rows before there is a result."""
        return await self._document(
            f"{season}/{number}/results.json", lambda page: _result_rows(page, lambda race: race.results)
        )

    async def sprint(self, season: int, number: int) -> Document[tuple[Race, ResultRow]]:
        """Ask for the sprint of a round."""
        return await self._document(
            f"{season}/{number}/sprint.json", lambda page: _result_rows(page, lambda race: race.sprint_results)
        )

    async def qualifying(self, season: int, number: int) -> Document[tuple[Race, QualifyingRow]]:
        """Ask for the qualifying of a round."""
        return await self._document(
            f"{season}/{number}/qualifying.json", lambda page: _result_rows(page, lambda race: race.qualifying_results)
        )

    async def _document(self, path: str, take: Callable[[Data], Sequence[tuple[Key, RowT]]]) -> Document[RowT]:
        """Read all pages; start again a few times when they disagree."""
        for left in reversed(range(DOCUMENT_TRIES)):
            try:
                return await self._pages(path, take)
            except DisagreeError:
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def _pages(self, path: str, take: Callable[[Data], Sequence[tuple[Key, RowT]]]) -> Document[RowT]:
        rows: dict[Key, RowT] = {}
        bodies: list[Body] = []
        total: int | None = None
        simulated = False
        while total is None or len(rows) < total:
            if len(bodies) == PAGES:
                raise UnreadableError(f"{path}: more than {PAGES} pages")
            page, found, body = await self._page(path, len(rows), take)
            if total is not None and page.total != total:
                raise DisagreeError(f"{path}: {total} rows on one page and {page.total} on the next")
            if any(key in rows for key, _ in found) or len(dict(found)) != len(found):
                raise DisagreeError(f"{path}: a row comes twice")
            rows.update(found)
            bodies.append(body)
            total, simulated = page.total, page.simulated
        return Document(rows=tuple(rows.values()), bodies=tuple(bodies), simulated=simulated)

    async def _page(
        self, path: str, offset: int, take: Callable[[Data], Sequence[tuple[Key, RowT]]]
    ) -> tuple[Data, Sequence[tuple[Key, RowT]], Body]:
        """Ask for one page until it is whole."""
        async for attempt in stamina.retry_context(
            on=(AwayError, UnreadableError),
            attempts=self._attempts,
            timeout=None,
            wait_initial=self._wait,
            wait_jitter=self._wait,
            wait_max=WAIT_MAX_SECONDS,
        ):
            with attempt:
                content = await self._get(path, offset)
                try:
                    page = upstream.decode(content)
                    found = take(page)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise UnreadableError(f"{path}: {error}") from error
                _require_whole(path, page, offset, len(found))
                return page, found, Body(path, content, hashlib.sha256(content).hexdigest())
        raise AssertionError("unreachable")

    async def _get(self, path: str, offset: int) -> bytes:
        await self._budget.take()
        try:
            with telemetry.span("GET upstream", SpanKind.CLIENT) as span:
                span.set_attribute("url.path", path)
                return await self._read(path, offset)
        except httpx.HTTPError as error:
            raise AwayError(f"{path}: {type(error).__name__} {error}".rstrip()) from error

    async def _read(self, path: str, offset: int) -> bytes:
        content = bytearray()
        async with self._http.stream("GET", path, params={"limit": PAGE_ROWS, "offset": offset}) as response:
            _require_ok(path, response.status_code)
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > BODY_BYTES:
                    raise UnreadableError(f"{path}: more than {BODY_BYTES} bytes")
        return bytes(content)


def _require_ok(path: str, status: int) -> None:
    if status == httpx.codes.NOT_FOUND:
        raise MissingError(f"{path}: 404")
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise AwayError(f"{path}: {status}")
    if status != httpx.codes.OK:
        raise RefusedError(f"{path}: {status}")


def _require_whole(path: str, page: Data, offset: int, rows: int) -> None:
    if page.offset != offset or page.limit < 1:
        raise UnreadableError(f"{path}: asked for offset {offset} and got {page.offset}, limit {page.limit}")
    promised = max(0, min(page.limit, page.total - offset))
    if rows != promised:
        raise UnreadableError(f"{path}: {rows} rows where the page promises {promised}")
    if not rows and offset:
        raise DisagreeError(f"{path}: no rows left at {offset}")


def _races(page: Data) -> tuple[Race, ...]:
    if page.races is None:
        raise msgspec.ValidationError("there is no RaceTable")
    return page.races.races


def _driver_rows(page: Data) -> list[tuple[Key, Driver]]:
    if page.drivers is None:
        raise msgspec.ValidationError("there is no DriverTable")
    return [(driver.driver_id, driver) for driver in page.drivers.drivers]


def _constructor_rows(page: Data) -> list[tuple[Key, Constructor]]:
    if page.constructors is None:
        raise msgspec.ValidationError("there is no ConstructorTable")
    return [(constructor.constructor_id, constructor) for constructor in page.constructors.constructors]


def _standing_rows(page: Data) -> list[tuple[Key, DriverStanding]]:
    if page.standings is None:
        raise msgspec.ValidationError("there is no StandingsTable")
    return [(row.driver.driver_id, row) for table in page.standings.lists for row in table.drivers]


ResultT = TypeVar("ResultT", ResultRow, QualifyingRow)


def _result_rows(page: Data, rows: Callable[[Race], tuple[ResultT, ...]]) -> list[tuple[Key, tuple[Race, ResultT]]]:
    return [((race.round, row.driver.driver_id), (race, row)) for race in _races(page) for row in rows(race)]
