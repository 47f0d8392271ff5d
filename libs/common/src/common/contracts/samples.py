"""One example of every event, for documents and contract tests."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from common.contracts.auth import (
    DeactivationReason,
    MailRequested,
    NewsChannels,
    PickStrategy,
    SessionRevoked,
    UserActivated,
    UserDeactivated,
    UserDeleted,
    UserLocked,
    UserPreferencesChanged,
    UserRegistered,
    UserUpdated,
    Visibility,
)
from common.contracts.event import Event
from common.contracts.ingest import (
    Car,
    CarStatus,
    Constructor,
    Driver,
    Race,
    RaceFinished,
    ResultsAmended,
    ResultsSynced,
    ResultStatus,
    SeasonSynced,
    Session,
    SessionKind,
    SessionStarted,
    Stint,
)
from common.contracts.leagues import (
    GameMode,
    LeagueCreated,
    LeagueJoined,
    LineupsLocked,
    LineupSubmitted,
    TeamCreated,
)
from common.contracts.scoring import (
    AssetKind,
    AssetPoints,
    AssetPrice,
    LeaderboardUpdated,
    PricesChanged,
    RaceScored,
    SessionVersion,
    Standing,
)

USER = UUID("0b5a1c6e-8d2f-4c3a-9e57-1f2d3c4b5a69")
LEAGUE = UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
TEAM = UUID("3d594650-3436-4c9c-8f5d-5ad9f7c1b2aa")
RACE = "2026-albert_park"
QUALIFYING_AT = datetime(2026, 3, 7, 5, 0, tzinfo=UTC)
RACE_AT = datetime(2026, 3, 8, 4, 0, tzinfo=UTC)
RESULT_AT = datetime(2026, 3, 8, 5, 48, 12, tzinfo=UTC)

_CARS = [
    Car(
        driver_id="russell",
        constructor_id="mercedes",
        number=63,
        position=1,
        status=CarStatus.FINISHED,
        status_text="Finished",
        grid=1,
        laps=58,
        points=Decimal(25),
        time_millis=5_104_742,
        fastest_lap_rank=2,
    ),
    Car(
        driver_id="max_verstappen",
        constructor_id="red_bull",
        number=3,
        position=2,
        status=CarStatus.DNF,
        status_text="Retired",
        grid=4,
        laps=31,
    ),
]
_DISQUALIFIED = Car(
    driver_id="russell",
    constructor_id="mercedes",
    number=63,
    position=2,
    status=CarStatus.DISQUALIFIED,
    status_text="Disqualified",
    grid=1,
    laps=58,
)

SAMPLES: tuple[Event, ...] = (
    UserRegistered(user_id=USER, username="pitwall_fan", registered_at=datetime(2026, 2, 1, 9, 30, tzinfo=UTC)),
    UserUpdated(
        user_id=USER,
        username="pitwall_fan",
        full_name=None,
        avatar_url=f"/api/v1/users/{USER}/avatar",
        profile_version=2,
        updated_at=datetime(2026, 2, 2, 18, 5, tzinfo=UTC),
    ),
    UserPreferencesChanged(
        user_id=USER,
        language="en",
        timezone="Europe/Brussels",
        profile_visibility=Visibility.PUBLIC,
        show_email_to_league_members=False,
        auto_pick_enabled=True,
        auto_pick_strategy=PickStrategy.BALANCED,
        notifications=[
            NewsChannels(kind="race_completed", channels=["in_app", "email"]),
            NewsChannels(kind="draft_turn", channels=["in_app"]),
        ],
        quiet_from="22:30",
        quiet_until="07:00",
        changed_at=datetime(2026, 2, 2, 18, 6, tzinfo=UTC),
    ),
    UserDeactivated(
        user_id=USER, reason=DeactivationReason.BLOCKED, deactivated_at=datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    ),
    UserActivated(user_id=USER, username="pitwall_fan", activated_at=datetime(2026, 3, 2, 12, 0, tzinfo=UTC)),
    UserDeleted(user_id=USER, deleted_at=datetime(2026, 5, 1, 3, 0, tzinfo=UTC)),
    UserLocked(user_id=USER, failures=5, locked_until=datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
    SessionRevoked(
        user_id=USER,
        session_ids=[UUID("0195c0de-0000-7000-8000-0000000000a1")],
        reason="logged out",
        revoked_at=datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
    ),
    MailRequested(mail_id=UUID("0195c0de-0000-7000-8000-0000000000b1"), kind="verify_email"),
    SeasonSynced(
        season=2026,
        season_version=3,
        simulated=False,
        races=[
            Race(
                race_id=RACE,
                round=1,
                name="Australian Grand Prix",
                circuit_id="albert_park",
                circuit_name="Albert Park Grand Prix Circuit",
                locality="Melbourne",
                country="Australia",
                sprint=False,
                sessions=[
                    Session(kind=SessionKind.QUALIFYING, starts_at=QUALIFYING_AT),
                    Session(kind=SessionKind.RACE, starts_at=RACE_AT),
                ],
            )
        ],
        drivers=[
            Driver(
                driver_id="russell",
                given_name="George",
                family_name="Russell",
                code="RUS",
                number=63,
                nationality="British",
            )
        ],
        constructors=[Constructor(constructor_id="mercedes", name="Mercedes", nationality="German")],
        stints=[Stint(driver_id="russell", constructor_id="mercedes", from_round=1, to_round=None)],
    ),
    SessionStarted(season=2026, round=1, race_id=RACE, session=SessionKind.QUALIFYING, starts_at=QUALIFYING_AT),
    RaceFinished(
        season=2026,
        round=1,
        race_id=RACE,
        name="Australian Grand Prix",
        winner="russell",
        podium=["russell", "antonelli", "leclerc"],
    ),
    ResultsSynced(
        season=2026,
        round=1,
        race_id=RACE,
        session=SessionKind.RACE,
        result_version=1,
        status=ResultStatus.PROVISIONAL,
        content_hash="5f2b1c0d9e8a7f6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b",
        observed_at=RESULT_AT,
        classification=_CARS,
    ),
    ResultsAmended(
        season=2026,
        round=1,
        race_id=RACE,
        session=SessionKind.RACE,
        result_version=2,
        status=ResultStatus.AMENDED,
        content_hash="a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90",
        observed_at=datetime(2026, 3, 8, 9, 15, 40, tzinfo=UTC),
        classification=[_DISQUALIFIED],
        reason="russell disqualified (was P1)",
    ),
    LeagueCreated(
        league_id=LEAGUE,
        name="Late Brakers",
        season=2026,
        mode=GameMode.BUDGET,
        private=True,
        owner_id=USER,
        created_at=datetime(2026, 2, 2, 18, 0, tzinfo=UTC),
    ),
    LeagueJoined(
        league_id=LEAGUE,
        user_id=USER,
        team_id=TEAM,
        membership_version=2,
        joined_at=datetime(2026, 2, 2, 18, 0, tzinfo=UTC),
    ),
    TeamCreated(
        team_id=TEAM,
        user_id=USER,
        name="Box Box Box",
        season=2026,
        created_at=datetime(2026, 2, 2, 18, 5, tzinfo=UTC),
    ),
    LineupSubmitted(
        team_id=TEAM,
        user_id=USER,
        season=2026,
        effective_round=1,
        lineup_version=1,
        drivers=["russell", "leclerc", "gasly", "bearman", "bottas"],
        constructors=["mercedes", "haas"],
        cost=987,
        submitted_at=datetime(2026, 3, 1, 20, 0, tzinfo=UTC),
    ),
    LineupsLocked(season=2026, round=1, race_id=RACE, locked_at=QUALIFYING_AT),
    RaceScored(
        season=2026,
        round=1,
        race_id=RACE,
        score_version=2,
        rule_set="official-2025",
        sessions=[
            SessionVersion(session=SessionKind.QUALIFYING, result_version=1),
            SessionVersion(session=SessionKind.RACE, result_version=1),
        ],
        final=True,
        assets=[
            AssetPoints(kind=AssetKind.DRIVER, asset_id="russell", points=35),
            AssetPoints(kind=AssetKind.CONSTRUCTOR, asset_id="mercedes", points=63),
        ],
        teams=200,
        scored_at=datetime(2026, 3, 8, 5, 48, 14, tzinfo=UTC),
    ),
    LeaderboardUpdated(
        season=2026,
        round=1,
        league_id=LEAGUE,
        score_version=2,
        members=12,
        leaders=[Standing(rank=1, team_id=TEAM, team_name="Box Box Box", total=214, round_points=214)],
        updated_at=datetime(2026, 3, 8, 5, 48, 14, tzinfo=UTC),
    ),
    PricesChanged(
        season=2026,
        effective_round=1,
        price_version=1,
        prices=[
            AssetPrice(kind=AssetKind.DRIVER, asset_id="russell", price=265),
            AssetPrice(kind=AssetKind.CONSTRUCTOR, asset_id="mercedes", price=280),
        ],
    ),
)
