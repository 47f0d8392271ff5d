import re
from typing import ClassVar
from uuid import uuid4

import pytest

from common import telemetry
from common.contracts import REGISTRY, Envelope, Event, check_type, schema_of, split, type_of
from common.contracts.auth import UserRegistered
from common.errors import PoisonError


def envelope(kind: str) -> Envelope:
    return Envelope(id=uuid4(), type=kind, source="/paddock/auth", subject="somebody", time="2026-03-08T05:48:12Z")


@pytest.mark.parametrize(
    ("subject", "name", "version"),
    [
        ("results.synced", "results.synced", 1),
        ("results.synced.v2", "results.synced", 2),
        ("results.synced.v10", "results.synced", 10),
        ("results.v1", "results.v1", 1),
        ("telemetry.v0", "telemetry.v0", 1),
    ],
)
def test_a_subject_says_its_major_version_from_the_second_on(subject: str, name: str, version: int) -> None:
    assert split(subject) == (name, version)


def test_a_type_and_a_schema_name_the_major_version_always() -> None:
    assert (type_of("results.synced"), type_of("results.synced.v2")) == (
        "paddock.results.synced.v1",
        "paddock.results.synced.v2",
    )
    assert schema_of("results.synced.v2") == "urn:paddock:schema:results.synced:v2"


def test_an_event_of_the_right_type_is_let_through() -> None:
    check_type(envelope("paddock.user.registered.v1"), UserRegistered)


def test_an_event_stored_before_types_had_versions_is_version_1() -> None:
    check_type(envelope("user.registered"), UserRegistered)


@pytest.mark.parametrize("kind", ["paddock.user.registered.v2", "user.registered.v2", "paddock.race.finished.v1", ""])
def test_an_unknown_major_version_or_another_event_is_poison(kind: str) -> None:
    with pytest.raises(PoisonError) as refusal:
        check_type(envelope(kind), UserRegistered)
    assert refusal.value.code == "unknown_type"


def test_the_subject_alone_is_no_type_of_a_later_version() -> None:
    class Later(Event, frozen=True, kw_only=True):
        version: ClassVar[int] = 2

    Later.subject = "user.registered.v2"
    check_type(envelope("paddock.user.registered.v2"), Later)
    for kind in ("user.registered.v2", "user.registered", "paddock.user.registered.v1"):
        with pytest.raises(PoisonError):
            check_type(envelope(kind), Later)


@pytest.mark.parametrize(("subject", "version"), [("test.happened", 2), ("test.happened.v2", 1)])
def test_a_class_whose_subject_and_version_disagree_is_refused(subject: str, version: int) -> None:
    with pytest.raises(TypeError, match="disagree"):
        type("Happened", (Event,), {"subject": subject, "version": version, "__annotations__": {}})
    assert subject not in REGISTRY


def test_there_is_a_trace_outside_of_a_span_too_and_a_new_one_each_time() -> None:
    first, second = telemetry.current_traceparent(), telemetry.current_traceparent()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", first)
    assert first != second
