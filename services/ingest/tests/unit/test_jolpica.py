"""The client: whole documents, or an error."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import pytest

from ingest import jolpica
from ingest.jolpica import AwayError, DisagreeError, Jolpica, MissingError, RefusedError, UnreadableError
from ingest.settings import IngestSettings

Make = Callable[..., Any]
Answer = httpx.Response | Exception


class Script:
    """An upstream that gives the answers it was told, in order, and then the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.url.path}?{request.url.query.decode()}")
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)


@pytest.fixture
async def client() -> AsyncIterator[Callable[..., tuple[Jolpica, Script]]]:
    made: list[Jolpica] = []

    def make(*answers: Answer) -> tuple[Jolpica, Script]:
        settings = IngestSettings(
            jolpica_url="http://upstream/ergast/f1/",
            retry_attempts=3,
            retry_wait_seconds=0.001,
            requests_per_second=1000,
        )
        script = Script(*answers)
        found = Jolpica(settings)
        found._http = httpx.AsyncClient(transport=httpx.MockTransport(script), base_url=found._http.base_url)
        made.append(found)
        return found, script

    yield make
    for one in made:
        await one.close()


@pytest.fixture
def page(body: Make, race_body: Make, result_row: Make) -> Callable[..., httpx.Response]:
    """Write a page of results: which rounds its rows belong to, by driver."""

    def make(rows: Sequence[tuple[int, str]], *, total: int, limit: int = 100, offset: int = 0) -> httpx.Response:
        rounds = list(dict.fromkeys(number for number, _ in rows))
        races = [
            race_body([result_row(name) for round_, name in rows if round_ == number], round=str(number))
            for number in rounds
        ]
        return httpx.Response(
            200, content=body({"RaceTable": {"Races": races}}, total=total, limit=limit, offset=offset)
        )

    return make


async def test_a_document_of_one_page_is_asked_for_once(client: Make, page: Make) -> None:
    upstream, script = client(page([(1, "a"), (1, "b")], total=2))
    document = await upstream.results(2024, 1)
    assert [row.driver.driver_id for _, row in document.rows] == ["a", "b"]
    assert script.asked == ["/ergast/f1/2024/1/results.json?limit=100&offset=0"]
    assert [body.path for body in document.bodies] == ["2024/1/results.json"]


async def test_no_result_yet_is_an_empty_document(client: Make, page: Make) -> None:
    upstream, script = client(page([], total=0))
    assert (await upstream.results(2024, 9)).rows == ()
    assert len(script.asked) == 1


async def test_a_race_split_over_two_pages_is_put_together(client: Make, page: Make) -> None:
    upstream, script = client(
        page([(1, "a"), (1, "b")], total=5, limit=2),
        page([(1, "c"), (2, "a")], total=5, limit=2, offset=2),
        page([(2, "b")], total=5, limit=2, offset=4),
    )
    document = await upstream.results(2024, 1)
    assert [(race.round, row.driver.driver_id) for race, row in document.rows] == [
        (1, "a"),
        (1, "b"),
        (1, "c"),
        (2, "a"),
        (2, "b"),
    ]
    assert [asked.rpartition("=")[2] for asked in script.asked] == ["0", "2", "4"]
    assert len(document.bodies) == 3


@pytest.mark.parametrize(
    "fault",
    [
        httpx.Response(429, json={"detail": "Request was throttled."}),
        httpx.Response(500, text="<html></html>"),
        httpx.Response(503),
        httpx.Response(200, text='{"MRData": {"limit": "100", "off'),
        httpx.Response(200, text="<html>Just a moment...</html>"),
        httpx.Response(200, content=b'{"MRData":{"\xff"}}'),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("cut off"),
    ],
    ids=["429", "500", "503", "truncated", "html", "bytes", "refused", "late", "cut off"],
)
async def test_a_passing_fault_is_tried_again(client: Make, page: Make, fault: Answer) -> None:
    upstream, script = client(fault, fault, page([(1, "a")], total=1))
    assert len((await upstream.results(2024, 1)).rows) == 1
    assert len(script.asked) == 3


async def test_a_page_short_of_rows_is_asked_for_again(client: Make, page: Make) -> None:
    upstream, _ = client(page([(1, "a")], total=2), page([(1, "a"), (1, "b")], total=2))
    assert len((await upstream.results(2024, 1)).rows) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(429), AwayError),
        (httpx.ReadTimeout("late"), AwayError),
        (httpx.Response(200, text="{}"), UnreadableError),
        (httpx.Response(200, text='{"MRData":{"limit":"100","offset":"0","total":"0"}}'), UnreadableError),
    ],
    ids=["429", "late", "another shape", "no table"],
)
async def test_a_lasting_fault_is_an_error_after_so_many_tries(
    client: Make, answer: Answer, error: type[Exception]
) -> None:
    upstream, script = client(answer)
    with pytest.raises(error):
        await upstream.results(2024, 1)
    assert len(script.asked) == 3


@pytest.mark.parametrize(("status", "error"), [(404, MissingError), (400, RefusedError), (403, RefusedError)])
async def test_what_will_not_get_better_is_not_tried_again(client: Make, status: int, error: type[Exception]) -> None:
    upstream, script = client(httpx.Response(status, text="<html></html>"))
    with pytest.raises(error):
        await upstream.results(2024, 1)
    assert len(script.asked) == 1


async def test_pages_that_disagree_are_read_anew(client: Make, page: Make) -> None:
    upstream, _ = client(
        page([(1, "a"), (1, "b")], total=3, limit=2),
        page([(1, "c"), (1, "d")], total=4, limit=2, offset=2),
        page([(1, "a"), (1, "b")], total=4, limit=2),
        page([(1, "c"), (1, "d")], total=4, limit=2, offset=2),
    )
    assert len((await upstream.results(2024, 1)).rows) == 4


async def test_a_row_that_comes_twice_makes_the_document_unfit(client: Make, page: Make) -> None:
    upstream, script = client(page([(1, "a"), (1, "a")], total=2))
    with pytest.raises(DisagreeError, match="twice"):
        await upstream.results(2024, 1)
    assert len(script.asked) == 3


async def test_a_body_without_end_is_cut_off(client: Make, monkeypatch: pytest.MonkeyPatch, page: Make) -> None:
    monkeypatch.setattr(jolpica, "BODY_BYTES", 100)
    upstream, _ = client(page([(1, "a")], total=1))
    with pytest.raises(UnreadableError, match="more than 100 bytes"):
        await upstream.results(2024, 1)


async def test_a_document_without_end_is_given_up(client: Make, monkeypatch: pytest.MonkeyPatch, page: Make) -> None:
    monkeypatch.setattr(jolpica, "PAGES", 2)
    upstream, _ = client(
        page([(1, "a")], total=3, limit=1),
        page([(1, "b")], total=3, limit=1, offset=1),
        page([(1, "c")], total=3, limit=1, offset=2),
    )
    with pytest.raises(UnreadableError, match="more than 2 pages"):
        await upstream.results(2024, 1)
