from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from devstack.errors import DevstackError
from devstack.ports import require_free
from devstack.season import LEAD_SECONDS, Wish

NOW = datetime(2027, 1, 2, tzinfo=UTC)


def test_nothing_asked_for_is_a_simulated_season_that_begins_when_everything_is_up() -> None:
    season = Wish().season(NOW)
    assert (season.source, season.year, season.pace) == ("sim", 2026, 120)
    assert season.start == NOW + timedelta(seconds=LEAD_SECONDS)
    assert Wish().explicit() == {}


def test_a_live_season_is_this_years() -> None:
    assert Wish(source="live").season(NOW).year == 2027


def test_a_folder_of_recorded_bodies_is_enough_to_ask_for_them(tmp_path: Path) -> None:
    season = Wish(recorded=tmp_path).season(NOW)
    assert (season.source, season.year, season.recorded) == ("recorded", 2024, str(tmp_path))


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"source": "f2"}, "there is no source f2; choose one of sim, live, recorded"),
        ({"source": "recorded"}, "belong together"),
        ({"source": "sim", "recorded": Path("/")}, "belong together"),
        ({"recorded": Path("/no/such/folder")}, "is not a folder"),
        ({"pace": 0.0}, "cannot last 0 s"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(wish: dict[str, Any], words: str) -> None:
    with pytest.raises(DevstackError, match=words) as refusal:
        Wish(**wish).season(NOW)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_does_not_exist_is_refused_in_words(port: int) -> None:
    with pytest.raises(DevstackError, match=f"the gateway cannot listen on port {port}"):
        require_free(port, "the gateway")
