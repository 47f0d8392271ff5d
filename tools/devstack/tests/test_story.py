from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from common.contracts.ingest import (
    Car,
    CarStatus,
    Driver,
    Race,
    ResultsAmended,
    ResultsSynced,
    ResultStatus,
    SeasonSynced,
    Session,
    SessionKind,
    SessionStarted,
)
from common.contracts.leagues import LineupsLocked
from common.contracts.scoring import AssetKind, AssetPoints, LeaderboardUpdated, RaceScored, Standing
from devstack.story import Story

NOW = datetime(2026, 3, 8, 12, tzinfo=UTC)
RACE = "2026-albert_park"
OPEN = UUID(int=99)


def driver(name: str) -> Driver:
    return Driver(driver_id=name.lower(), given_name="A", family_name=name, code=None, number=None, nationality=None)


def season(version: int = 1, name: str = "Australian Grand Prix") -> SeasonSynced:
    sessions = [
        Session(kind=SessionKind.FP1, starts_at=NOW + timedelta(seconds=5)),
        Session(kind=SessionKind.QUALIFYING, starts_at=NOW + timedelta(seconds=40)),
        Session(kind=SessionKind.RACE, starts_at=NOW + timedelta(seconds=90)),
    ]
    race = Race(
        race_id=RACE,
        round=1,
        name=name,
        circuit_id="albert_park",
        circuit_name="Albert Park",
        locality="Melbourne",
        country="Australia",
        sprint=False,
        sessions=sessions,
    )
    return SeasonSynced(
        season=2026,
        season_version=version,
        simulated=True,
        races=[race],
        drivers=[driver("Norris"), driver("Piastri"), driver("Leclerc"), driver("Hamilton")],
        constructors=[],
        stints=[],
    )


def classification() -> list[Car]:
    names = ("piastri", "norris", "leclerc", "hamilton")
    return [
        Car(
            driver_id=name,
            constructor_id="x",
            number=None,
            position=place,
            status=CarStatus.FINISHED,
            status_text="Finished",
        )
        for place, name in reversed(list(enumerate(names, start=1)))
    ]


def results(session: SessionKind) -> ResultsSynced:
    return ResultsSynced(
        season=2026,
        round=1,
        race_id=RACE,
        session=session,
        result_version=1,
        status=ResultStatus.PROVISIONAL,
        content_hash="",
        observed_at=NOW,
        classification=classification(),
    )


def board(team: int, total: int, *, version: int = 1, league: UUID | None = None, tied: int = 0) -> LeaderboardUpdated:
    rows = [
        Standing(rank=1, team_id=UUID(int=team + n), team_name=f"Team {team + n}", total=total, round_points=total)
        for n in range(tied + 1)
    ]
    return LeaderboardUpdated(
        season=2026, round=1, league_id=league, score_version=version, members=2, leaders=rows, updated_at=NOW
    )


@pytest.fixture
def story() -> Story:
    told = Story()
    told.leagues = {OPEN: "Paddock Open"}
    assert told.tell(season(), NOW) is None
    return told


def test_a_weekend_is_told_in_the_words_of_the_sport(story: Story) -> None:
    started = SessionStarted(season=2026, round=1, race_id=RACE, session=SessionKind.QUALIFYING, starts_at=NOW)
    locked = LineupsLocked(season=2026, round=1, race_id=RACE, locked_at=NOW)
    scored = RaceScored(
        season=2026,
        round=1,
        race_id=RACE,
        score_version=1,
        rule_set="official-2025",
        sessions=[],
        final=True,
        assets=[
            AssetPoints(kind=AssetKind.CONSTRUCTOR, asset_id="mclaren", points=80),
            AssetPoints(kind=AssetKind.DRIVER, asset_id="norris", points=31),
            AssetPoints(kind=AssetKind.DRIVER, asset_id="piastri", points=45),
        ],
        teams=200,
        scored_at=NOW,
    )
    amended = ResultsAmended(
        season=2026,
        round=1,
        race_id=RACE,
        session=SessionKind.RACE,
        result_version=2,
        status=ResultStatus.AMENDED,
        content_hash="",
        observed_at=NOW,
        classification=[],
        reason="piastri disqualified (was P1)",
    )
    events = [started, locked, results(SessionKind.QUALIFYING), results(SessionKind.RACE), scored, amended]
    assert [story.tell(event, NOW + timedelta(seconds=50)) for event in events] == [
        "R1 Australian Grand Prix: qualifying under way",
        "R1 Australian Grand Prix: line-ups locked",
        "R1 Australian Grand Prix: qualifying done, 1 Piastri, 2 Norris, 3 Leclerc",
        "R1 Australian Grand Prix: race done, 1 Piastri, 2 Norris, 3 Leclerc",
        (
            "R1 Australian Grand Prix: scored, 200 teams, best driver Piastri with 45 points; "
            "next R1 Australian Grand Prix, race, in 40 s"
        ),
        "R1 Australian Grand Prix: race amended, piastri disqualified (was P1)",
    ]


def test_practice_is_not_worth_a_line(story: Story) -> None:
    started = SessionStarted(season=2026, round=1, race_id=RACE, session=SessionKind.FP1, starts_at=NOW)
    assert story.tell(started, NOW) is None
    assert story.tell(results(SessionKind.FP2), NOW) is None


def test_a_leader_is_told_when_it_changes_and_not_before(story: Story) -> None:
    boards = [board(1, 100), board(1, 120, version=2), board(2, 130, version=3), board(1, 99, version=1)]
    assert [story.tell(each, NOW) for each in boards] == [
        "new leader overall: Team 1 with 100 points",
        None,
        "new leader overall: Team 2 with 130 points",
        None,
    ]


def test_only_the_demo_league_is_told_beside_the_overall_leaderboard(story: Story) -> None:
    assert story.tell(board(1, 100, league=UUID(int=5)), NOW) is None
    assert story.tell(board(1, 100, league=OPEN), NOW) == "new leader in Paddock Open: Team 1 with 100 points"


def test_shared_leads_are_told_as_shared(story: Story) -> None:
    assert story.tell(board(1, 100, tied=2), NOW) == "new leaders overall: 3 teams with 100 points"


def test_the_next_session_skips_practice_and_ends_with_the_season(story: Story) -> None:
    assert story.next_session(NOW) == "R1 Australian Grand Prix, qualifying, in 40 s"
    assert story.next_session(NOW + timedelta(seconds=60)) == "R1 Australian Grand Prix, race, in 30 s"
    assert story.next_session(NOW + timedelta(days=1)) is None
    assert story.next_session(NOW - timedelta(hours=3)) == "R1 Australian Grand Prix, qualifying, in 3 h"


def test_an_older_version_of_the_season_is_ignored(story: Story) -> None:
    story.tell(season(version=3, name="New name"), NOW)
    story.tell(season(version=2, name="Old name"), NOW)
    assert story.next_session(NOW) == "R1 New name, qualifying, in 40 s"
    assert story.simulated
