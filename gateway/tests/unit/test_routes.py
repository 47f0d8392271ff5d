"""A path has one reading: what is routed is what is authorised and what the service gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from gateway.routes import PATH_BYTES, TABLE, Identity, Limit, Route, Table, canonical, read_path

TRICKS = [
    b"//api/v1/races",
    b"/api//v1/races",
    b"/api/v1/races//",
    b"/api/v1/./races",
    b"/api/v1/races/.",
    b"/api/v1/races/..",
    b"/api/v1/races/../leagues",
    b"/../api/v1/races",
    b"/api/v1/races/%2e%2e/leagues",
    b"/api/v1/races/%2E%2E",
    b"/api/v1/races/.%2e/leagues",
    b"/api/v1/races/%2e",
    b"/api/v1%2fraces",
    b"/api/v1%2Fraces",
    b"/api/v1/races%2f..%2fleagues",
    b"/api/v1/races/x%2fy",
    b"/api/v1/races/x%5cy",
    b"/api/v1/races\\x",
    b"/api/v1/races/..\\leagues",
    b"/api/v1/races;jsessionid=1",
    b"/api/v1/races;/leagues",
    b"/api/v1/races%3bx",
    b"/api/v1/races/%252e%252e/leagues",
    b"/api/v1/races%252fx",
    b"/api/v1/races%00",
    b"/api/v1/races/%0d%0aX:1",
    b"/api/v1/races%7f",
    b"/api/v1/races/%c0%ae%c0%ae/leagues",
    b"/api/v1/races/%c0%af",
    b"/api/v1/races/%e0%80%af",
    b"/api/v1/races/%ff",
    b"/api/v1/races/%",
    b"/api/v1/races/%2",
    b"/api/v1/races/%zz",
    b"/api/v1/races/%3f",
    b"/api/v1/races/%23x",
    b"/api/v1/races x",
    b"/api/v1/races/\xc3\xa9",
    b"api/v1/races",
    b"http://inner/api/v1/races",
    b"*",
    b"",
]


@pytest.mark.parametrize("raw", TRICKS)
def test_a_path_with_two_readings_is_refused(raw: bytes) -> None:
    with pytest.raises(HTTPException) as refusal:
        read_path(raw)
    assert refusal.value.status_code == 400


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=6))
def test_what_is_accepted_reads_the_same_when_written_again(segments: list[str]) -> None:
    try:
        read = read_path(canonical(tuple(segments)).encode())
    except HTTPException:
        return
    assert read == tuple(segments)
    assert not any(set(segment) & set("/\\;%?#") or segment in {".", ".."} for segment in read)
    assert read_path(canonical(read).encode()) == read


def test_one_slash_at_the_end_means_nothing() -> None:
    assert read_path(b"/api/v1/races/") == read_path(b"/api/v1/races") == ("api", "v1", "races")


def test_an_encoded_letter_is_that_letter() -> None:
    assert canonical(read_path(b"/api/v1/%72aces")) == "/api/v1/races"


def test_a_path_may_be_long_but_not_endless() -> None:
    with pytest.raises(HTTPException) as refusal:
        read_path(b"/" + b"a" * PATH_BYTES)
    assert refusal.value.status_code == 414
    with pytest.raises(HTTPException):
        read_path(b"/a" * 100)


def find(method: str, path: str) -> Route:
    return Table(TABLE).find(method, read_path(path.encode()))


@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("GET", "/api/v1/leagues/7/leaderboard", "scoring"),
        ("GET", "/api/v1/leagues/7", "leagues"),
        ("POST", "/api/v1/leagues/join", "leagues"),
        ("GET", "/api/v1/teams/7/points", "scoring"),
        ("GET", "/api/v1/teams/7/lineup", "leagues"),
        ("GET", "/api/v1/rounds/next", "leagues"),
        ("GET", "/api/v1/rounds/2026/3/scores", "scoring"),
        ("GET", "/api/v1/rounds/2026/3/explain/driver/max_verstappen", "scoring"),
        ("GET", "/api/v1/races/2026-monza/results", "ingest"),
        ("GET", "/api/v1/users/me", "auth"),
        ("GET", "/.well-known/jwks.json", "auth"),
        ("GET", "/api/v1/analytics/schedule/next", "analytics"),
        ("GET", "/api/v1/stream", "gateway"),
    ],
)
def test_a_path_leads_to_its_owner(method: str, path: str, service: str) -> None:
    assert find(method, path).service == service


@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/races/1/2/3", "/schema/openapi.json", "/admin", "/api/v2/races"])
def test_what_is_not_in_the_table_does_not_exist(path: str) -> None:
    with pytest.raises(NotFoundException):
        find("GET", path)


def test_another_method_is_told_which_are_allowed() -> None:
    with pytest.raises(MethodNotAllowedException) as refusal:
        find("DELETE", "/api/v1/leagues")
    assert (refusal.value.headers or {})["Allow"] == "GET, POST"
    with pytest.raises(MethodNotAllowedException):
        find("GET", "/api/v1/leagues/join")


def test_guessing_is_limited_harder_than_reading() -> None:
    credentials = {route.template for route in TABLE if route.limit is Limit.CREDENTIALS}
    names = "register login refresh verify request-verify-token confirm-email check-email check-username"
    expected = {f"/api/v1/auth/{name}" for name in f"{names} forgot-password reset-password".split()}
    expected |= {"/api/v1/admin/auth/login", "/api/v1/admin/auth/refresh"}
    known = {"/api/v1/users/me/email", "/api/v1/auth/confirm-email"}
    assert credentials == expected | known
    assert all(route.limit is Limit.ANALYTICS for route in TABLE if route.service == "analytics")
    looked_at = {
        route.template for route in TABLE if route.limit is Limit.CREDENTIALS and route.identity is not Identity.IGNORED
    }
    assert looked_at == known, "elsewhere a stale token stops nobody"
