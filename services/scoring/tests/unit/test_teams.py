"""Line-ups and ranks, as the statements of the database must do them."""

from hypothesis import given
from hypothesis import strategies as st

from common.contracts.scoring import AssetKind
from scoring.teams import rank, team_points

TOTALS = st.dictionaries(st.integers(0, 50), st.integers(-50, 50) | st.integers())


def test_a_team_scores_the_sum_of_its_drivers_and_constructors() -> None:
    points = {
        (AssetKind.DRIVER, "norris"): 40,
        (AssetKind.DRIVER, "stroll"): -20,
        (AssetKind.DRIVER, "albon"): 7,
        (AssetKind.CONSTRUCTOR, "mclaren"): 90,
    }
    assert team_points(["norris", "stroll"], ["mclaren"], points) == 110


def test_an_asset_that_has_no_points_yet_counts_zero() -> None:
    assert team_points(["norris"], ["haas"], {}) == 0


def test_a_driver_and_a_constructor_of_one_name_are_two_assets() -> None:
    points = {(AssetKind.DRIVER, "brabham"): 1, (AssetKind.CONSTRUCTOR, "brabham"): 10}
    assert team_points(["brabham"], [], points) == 1
    assert team_points([], ["brabham"], points) == 10


def test_equal_totals_share_a_rank_and_the_next_rank_is_skipped() -> None:
    assert rank({"a": 50, "b": 40, "c": 40, "d": 10}) == {"a": 1, "b": 2, "c": 2, "d": 4}


@given(TOTALS)
def test_a_rank_is_one_more_than_the_number_of_better_teams(totals: dict[int, int]) -> None:
    expected = {team: 1 + sum(other > total for other in totals.values()) for team, total in totals.items()}
    assert rank(totals) == expected
