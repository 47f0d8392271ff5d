"""Rule files: what they must say, what they may not, and which season uses which."""

import re
from importlib.resources import files

import msgspec
import pytest

from common.contracts.ingest import SessionKind
from common.errors import InvalidError, NotFoundError
from scoring.rules import parse_rule_set, rule_set, rule_set_names, rule_set_of, seasons
from scoring.tables import Mark

TEXT = (files("scoring") / "rules" / "official-2025.toml").read_text(encoding="utf-8")
OFFICIAL_2024 = (
    TEXT.replace('name = "official-2025"', 'name = "official-2024"')
    .replace("[qualifying.disqualified]\npoints = -5", "[qualifying.disqualified]\npoints = -15")
    .replace("[race.disqualified]\npoints = -20", "[race.disqualified]\npoints = -25")
    .replace(
        "[race.constructors.pit_stops.fastest]\npoints = [5]",
        "[race.constructors.pit_stops.fastest]\npoints = [10, 5, 3]",
    )
)


def test_the_official_rules_of_2025_and_2026_ship_with_the_service() -> None:
    assert rule_set_names() == ("official-2025", "official-2026")


@pytest.mark.parametrize(
    ("season", "name"),
    [(2023, "official-2025"), (2024, "official-2025"), (2025, "official-2025"), (2026, "official-2026")],
)
def test_each_season_has_one_rule_set_and_others_use_that_of_2025(season: int, name: str) -> None:
    assert rule_set_of(season).name == name


def test_every_rule_set_that_a_season_names_exists() -> None:
    assert {seasons().default, *seasons().seasons.values()} <= set(rule_set_names())


def test_a_rule_set_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="official-1950"):
        rule_set("official-1950")


def test_the_hash_is_of_the_numbers_and_not_of_the_layout() -> None:
    original = rule_set("official-2025").content_hash
    assert re.fullmatch(r"[0-9a-f]{64}", original)
    assert parse_rule_set("# a comment\n" + TEXT).content_hash == original
    assert parse_rule_set(TEXT.replace("points = 15\n", "points = 16\n")).content_hash != original


def test_2026_says_only_what_changed_and_keeps_the_rest() -> None:
    old, new = rule_set("official-2025"), rule_set("official-2026")
    assert (new.qualifying, new.race.position, new.race.dnf) == (old.qualifying, old.race.position, old.race.dnf)
    assert [award.points for award in (new.sprint.dnf, new.sprint.nc, new.sprint.dns, new.sprint.absent)] == [-10] * 4
    assert new.sprint.places is not None
    assert new.sprint.places.lost_limit == -10
    extra = new.race.constructors.disqualified_car
    assert extra is not None
    assert (extra.points, extra.mark) == (-20, Mark.DISPUTED)


def test_a_table_that_is_given_replaces_the_one_below_as_a_whole() -> None:
    rules = parse_rule_set(
        'name = "house"\ntitle = "House"\nextends = "official-2025"\n'
        '[race.keeps]\nnc = ["overtakes"]\nmark = "exact"\nsource = "House rules."\n'
    )
    assert (rules.race.keeps.dnf, rules.race.keeps.nc, rules.race.keeps.otherwise) == ((), ("overtakes",), None)
    assert rules.race.overtake == rule_set("official-2025").race.overtake


def test_the_format_can_say_what_was_different_in_2024() -> None:
    rules = parse_rule_set(OFFICIAL_2024)
    stops = rules.race.constructors.pit_stops
    assert (rules.qualifying.disqualified.points, rules.race.disqualified.points) == (-15, -25)
    assert stops is not None
    assert [stops.fastest.of(rank) for rank in (1, 2, 3, 4)] == [10, 5, 3, 0]


@pytest.mark.parametrize(("cars", "last"), [(10, 15), (20, 15), (21, 16), (22, 16), (24, 17), (26, 17)], ids=str)
def test_the_cut_of_q2_follows_the_size_of_the_field(cars: int, last: int) -> None:
    tiers = rule_set("official-2025").qualifying.constructors.tiers
    assert tiers is not None
    assert tiers.last_in_q2(cars) == last


def test_only_qualifying_sprint_and_race_have_tables() -> None:
    rules = rule_set("official-2025")
    having = {kind for kind in SessionKind if rules.of(kind) is not None}
    assert having == {SessionKind.QUALIFYING, SessionKind.SPRINT, SessionKind.RACE}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[race.overtake]", "[race.overtaking]", "overtaking"),
        ("[race.overtake]\npoints = 1", "[race.overtake]\npoints = 1.5", "int"),
        ("[race.overtake]\npoints = 1", "[race.overtake]\npoints = 100000", "1000"),
        ('[race.overtake]\npoints = 1\nmark = "exact"', '[race.overtake]\npoints = 1\nmark = "disputed"', "otherwise"),
        ('[race.overtake]\npoints = 1\nmark = "exact"', '[race.overtake]\npoints = 1\nmark = "likely"', "likely"),
        ('dnf = ["overtakes", "fastest_lap"]', 'dnf = ["position"]', "position"),
        ("up_to_millis = 2199", "up_to_millis = 1800", "fast to slow"),
        ("record_under_millis = 1800\n", "", "come together"),
        ("cars_up_to = 22", "cars_up_to = 19", "rising order"),
        ('name = "official-2025"', 'name = "Official 2025!"', "name"),
        ('name = "official-2025"', "", "name"),
        ('name = "official-2025"', "name =", "read"),
        ('name = "official-2025"', 'name = "official-2025"\nextends = "official-2025"', "extends itself"),
        ("[sprint.dns]\npoints = -20", '[sprint.dns]\npoints = "-20"', "int"),
    ],
)
def test_a_rule_file_that_is_not_right_is_refused_with_what_is_wrong(old: str, new: str, complaint: str) -> None:
    assert old in TEXT
    with pytest.raises(InvalidError, match=complaint):
        parse_rule_set(TEXT.replace(old, new, 1))


def test_every_number_says_where_it_comes_from() -> None:
    for name in rule_set_names():
        for path, table in _sourced(msgspec.to_builtins(rule_set(name)), name):
            assert len(table["source"]) > 5, path
            assert table["mark"] == "exact" or table["otherwise"], path


def _sourced(value: object, path: str) -> list[tuple[str, dict[str, str]]]:
    """Collect every table that has a mark, and see that no table has points without one."""
    found: list[tuple[str, dict[str, str]]] = []
    if isinstance(value, dict):
        assert "points" not in value or "mark" in value, path
        if "mark" in value:
            found.append((path, value))
        for key, inner in value.items():
            found += _sourced(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            found += _sourced(inner, path)
    return found
