"""The API shows each number of a rule file, where it stands and how sure it is."""

from scoring.rulebook import rule_sets
from scoring.rules import rule_set
from scoring.tables import Mark


def test_every_rule_set_shows_with_its_hash_and_seasons() -> None:
    shown = {one.name: one for one in rule_sets().items}
    assert shown["official-2025"].hash == rule_set("official-2025").content_hash
    assert shown["official-2025"].default
    assert 2026 in shown["official-2026"].seasons


def test_a_number_shows_with_source_and_mark_and_a_disputed_one_with_what_else_is_said() -> None:
    shown = {one.name: one for one in rule_sets().items}
    components = {one.name: one for one in shown["official-2026"].components}
    extra = components["race.constructors.disqualified_car"]
    assert (extra.values, extra.mark) == ({"points": -20}, Mark.DISPUTED)
    assert extra.otherwise
    assert components["race.position"].values["points"] == [25, 18, 15, 12, 10, 8, 6, 4, 2, 1]
    assert components["race.constructors.pit_stops.tiers.0"].values == {"up_to_millis": 1999, "points": 20}


def test_what_is_not_a_number_of_points_shows_without_a_mark() -> None:
    shown = {one.name: one for one in rule_sets().items}
    components = {one.name: one for one in shown["official-2025"].components}
    assert components["qualifying.constructors.tiers"].values == {"q3_cut": 10}
    assert components["qualifying.constructors.tiers"].mark is None
    assert components["qualifying.constructors.tiers.q2_cut.1"].values == {"cars_up_to": 22, "position": 16}
