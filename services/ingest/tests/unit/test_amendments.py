"""The reason of an amendment, in words."""

from typing import Any

from common.contracts.ingest import Car, CarStatus
from ingest.amendments import SHOWN, reason


def car(driver_id: str, position: int, **more: Any) -> Car:
    status = more.pop("status", CarStatus.FINISHED)
    return Car(
        driver_id=driver_id,
        constructor_id="team",
        number=1,
        position=position,
        status=status,
        status_text="",
        **more,
    )


def test_a_disqualification_comes_first_and_then_who_moved_up() -> None:
    old = [car("ver", 1), car("nor", 2)]
    new = [car("nor", 1), car("ver", 2, status=CarStatus.DISQUALIFIED)]
    assert reason(old, new) == "ver disqualified (was P1); nor P1 (was P2)"


def test_a_time_penalty_tells_its_seconds() -> None:
    old = [car("ver", 1, time_millis=1_000_000), car("nor", 2, time_millis=1_003_000)]
    new = [car("nor", 1, time_millis=1_003_000), car("ver", 2, time_millis=1_005_000)]
    assert reason(old, new) == "nor P1 (was P2); ver P2 (was P1), time +5.000 s"


def test_a_car_that_is_classified_after_all_says_what_it_was() -> None:
    assert reason([car("ver", 3, status=CarStatus.DNF)], [car("ver", 3)]) == "ver finished (was retired)"


def test_a_correction_names_its_fields() -> None:
    assert reason([car("ver", 1, grid=2)], [car("ver", 1, grid=5)]) == "ver corrected (grid)"


def test_a_car_that_was_forgotten_is_added() -> None:
    assert reason([car("ver", 1)], [car("ver", 1), car("nor", 2)]) == "nor added"


def test_a_change_of_words_alone_is_a_correction() -> None:
    assert reason([car("ver", 1)], [car("ver", 1)]) == "corrected"


def test_a_long_list_is_cut() -> None:
    old = [car(f"d{number}", number) for number in range(1, 21)]
    new = [car(f"d{number}", 21 - number) for number in range(1, 21)]
    assert reason(old, new).endswith(f"; and {20 - SHOWN} more")
