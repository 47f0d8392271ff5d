"""Who drove for whom, out of who was seen."""

from common.contracts.ingest import Stint
from ingest.seats import Seen, entered, stints


def seen(number: int, **drivers: str) -> list[Seen]:
    return [Seen(number, float(number), driver, team) for driver, team in drivers.items()]


def brief(found: list[Stint]) -> list[tuple[str, str, int, int | None]]:
    return [(stint.driver_id, stint.constructor_id, stint.from_round, stint.to_round) for stint in found]


def test_a_driver_of_every_round_has_one_open_stint() -> None:
    assert brief(stints([*seen(1, ham="ferrari"), *seen(2, ham="ferrari")])) == [("ham", "ferrari", 1, None)]


def test_a_swap_closes_two_stints_and_opens_two() -> None:
    rounds = [
        *seen(1, law="red_bull", tsu="rb"),
        *seen(2, law="red_bull", tsu="rb"),
        *seen(3, law="rb", tsu="red_bull"),
    ]
    assert brief(stints(rounds)) == [
        ("law", "red_bull", 1, 2),
        ("law", "rb", 3, None),
        ("tsu", "rb", 1, 2),
        ("tsu", "red_bull", 3, None),
    ]


def test_a_stand_in_drives_one_round_and_the_driver_returns() -> None:
    rounds = [*seen(1, sai="ferrari"), *seen(2, bea="ferrari"), *seen(3, sai="ferrari")]
    assert brief(stints(rounds)) == [("bea", "ferrari", 2, 2), ("sai", "ferrari", 1, 1), ("sai", "ferrari", 3, None)]


def test_of_several_sessions_of_a_round_the_later_counts() -> None:
    rounds = [Seen(1, 2.0, "tsu", "red_bull"), Seen(1, 1.0, "tsu", "rb")]
    assert brief(stints(rounds)) == [("tsu", "red_bull", 1, None)]


def test_rounds_that_are_not_known_end_no_stint() -> None:
    assert brief(stints([*seen(1, ham="ferrari"), *seen(5, ham="ferrari")])) == [("ham", "ferrari", 1, None)]


def test_before_the_first_session_entries_open_stints() -> None:
    assert brief(entered({"ferrari": ["lec", "ham"]})) == [("ham", "ferrari", 1, None), ("lec", "ferrari", 1, None)]


def test_a_driver_entered_by_two_constructors_is_left_out() -> None:
    assert brief(entered({"rb": ["tsu", "law"], "red_bull": ["law"]})) == [("tsu", "rb", 1, None)]
