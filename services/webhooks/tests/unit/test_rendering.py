"""Every event has a body in every format, and nothing in it can speak for us."""

from uuid import uuid4

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured
from cloudevents.core.formats.json import JSONFormat

from common.contracts import encode, type_of
from common.contracts.samples import SAMPLES
from common.contracts.scoring import LeaderboardUpdated
from webhooks.domain import TEST_SUBJECT, Format, Subject
from webhooks.rendering import Message, cloud_event, render, story

OFFERED = {sample.subject: sample for sample in SAMPLES if sample.subject in list(Subject)}


def message(subject: str, body: bytes) -> Message:
    return Message(
        event_id=uuid4(), subject=subject, source="/paddock/x", key="k", time="2026-03-08T05:48:12Z", body=body
    )


@pytest.mark.parametrize("subject", list(Subject))
def test_an_event_is_a_cloudevent_whose_data_are_the_bytes_that_were_published(subject: Subject) -> None:
    body = encode(OFFERED[subject])
    sent = message(subject, body)
    content_type, rendered = render(sent, Format.CLOUDEVENTS)
    assert content_type == "application/cloudevents+json"
    assert body in rendered
    event = from_structured(HTTPMessage(headers={"content-type": content_type}, body=rendered), JSONFormat())
    assert event.get_id() == str(sent.event_id)
    assert event.get_type() == type_of(subject)
    assert (event.get_source(), event.get_subject()) == ("/paddock/x", "k")
    assert event.get_data() == msgspec.json.decode(body)
    assert event.get_dataschema() == f"urn:paddock:schema:{subject}:v1"


def test_a_test_event_is_one_too_without_a_schema() -> None:
    rendered = msgspec.json.decode(cloud_event(message(TEST_SUBJECT, b"{}")))
    assert rendered["type"] == "paddock.webhook.test.v1"
    assert "dataschema" not in rendered


@pytest.mark.parametrize("form", [Format.DISCORD, Format.SLACK])
@pytest.mark.parametrize("subject", [*Subject, TEST_SUBJECT])
def test_every_event_has_words_of_its_own(form: Format, subject: str) -> None:
    body = encode(OFFERED[Subject(subject)]) if subject != TEST_SUBJECT else b"{}"
    content_type, rendered = render(message(subject, body), form)
    assert content_type == "application/json"
    assert msgspec.json.decode(rendered)
    told = story(message(subject, body))
    assert told.title
    assert (told.lines == ["It works."]) is (subject == TEST_SUBJECT)


def test_what_discord_and_slack_are_told_about_a_race() -> None:
    sent = message("race.finished", encode(OFFERED[Subject.RACE_FINISHED]))
    told = msgspec.json.decode(render(sent, Format.DISCORD)[1])
    assert told["embeds"][0]["title"] == "Australian Grand Prix\\: Russell wins"
    assert told["embeds"][0]["description"].splitlines() == [
        "Season 2026, round 1",
        "1. Russell",
        "2. Antonelli",
        "3. Leclerc",
    ]
    assert msgspec.json.decode(render(sent, Format.SLACK)[1])["text"].startswith(
        "*Australian Grand Prix: Russell wins*\nSeason 2026, round 1\n1. Russell"
    )


HOSTILE = "@everyone <!channel> **bold** [x](https://evil.example)\n# big " + "x" * 5000


def leaderboard(name: str) -> Message:
    updated = OFFERED[Subject.LEADERBOARD_UPDATED]
    assert isinstance(updated, LeaderboardUpdated)
    row = msgspec.structs.replace(updated.leaders[0], team_name=name)
    return message("leaderboard.updated", encode(msgspec.structs.replace(updated, leaders=[row] * 10)))


def test_the_name_of_a_team_mentions_nobody_and_marks_nothing_up_in_discord() -> None:
    told = msgspec.json.decode(render(leaderboard(HOSTILE), Format.DISCORD)[1])
    assert told["allowed_mentions"] == {"parse": []}
    description = told["embeds"][0]["description"]
    assert len(description) <= 4096
    for mark in ("@", "<", "*", "[", "#"):
        assert description.replace("\\" + mark, "").count(mark) == 0
    assert description.splitlines()[1].startswith("1. ")


def test_the_name_of_a_team_calls_nobody_in_slack() -> None:
    text = msgspec.json.decode(render(leaderboard(HOSTILE), Format.SLACK)[1])["text"]
    assert "<" not in text
    assert ">" not in text
    assert "&lt;!channel&gt;" in text
