"""Small rules: language tags, zones, telephone numbers, entity tags, and which news goes where."""

import msgspec
import pytest

from auth import etags
from auth.choices import DEFAULTS, Channels, language_tag, time_zones
from auth.phones import normalised
from common.errors import StaleError


@pytest.mark.parametrize(
    ("written", "tag"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("pt-br", "pt-BR"),
        ("ZH-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("fil", "fil"),
        ("", None),
        ("d", None),
        ("deutsch", None),
        ("de_DE", None),
        ("de-", None),
        ("de-DE-1996", None),
        ("de\n", None),
        ("x-klingon", None),
    ],
)
def test_a_language_tag_is_written_in_one_way(written: str, tag: str | None) -> None:
    assert language_tag(written) == tag


def test_a_zone_is_one_that_means_the_same_everywhere() -> None:
    assert {"UTC", "Europe/Brussels", "America/Argentina/Buenos_Aires"} <= time_zones()
    assert not {"localtime", "Factory", "", "Mars/Olympus", "posix/UTC", "right/UTC"} & time_zones()


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+49 (0)151 / 1234-5678", "+4915112345678"),
        ("tel:+32-470-12-34-56", "+32470123456"),
        ("+\uff14\uff1915112345678", "+4915112345678"),
        ("0151 12345678", None),
        ("0049 151 12345678", None),
        ("+49", None),
        ("+999123456", None),
        ("+4915112345678;ext=5", None),
        ("+1" + "2" * 30, None),
        ("number", None),
        ("", None),
    ],
)
def test_a_telephone_number_is_kept_in_one_form(written: str, number: str | None) -> None:
    assert normalised(written) == number


@pytest.mark.parametrize("header", [None, "*", ' "3"', '"1","3"'])
def test_a_tag_that_names_the_version_is_good(header: str | None) -> None:
    etags.require(header, 3)
    assert etags.tag_of(3) == '"3"'


@pytest.mark.parametrize("header", ["", '"2"', 'W/"3"', "3", '"33"', "'3'"])
def test_a_tag_that_names_another_version_is_stale(header: str) -> None:
    with pytest.raises(StaleError):
        etags.require(header, 3)


def test_news_goes_through_the_channels_that_are_on_and_through_none_when_it_is_off() -> None:
    matrix = msgspec.structs.replace(
        DEFAULTS.notifications, draft_turn=Channels(in_app=False, email=False, push=True, webhook=True)
    )
    chosen = msgspec.structs.replace(DEFAULTS, notifications=matrix, notify_team_updates=False)
    assert {news.kind: news.channels for news in chosen.routes()} == {
        "race_completed": ["in_app", "email"],
        "draft_turn": ["push", "webhook"],
        "league_invitations": ["in_app", "email"],
        "team_updates": [],
    }
