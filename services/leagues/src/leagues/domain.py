"""The rules of leagues, teams and line-ups: values and pure functions. Time and randomness are arguments.

Money is in integer tenths of a million: 1000 is $100.0M.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from common.contracts.ingest import Race, Session, SessionKind
from common.contracts.leagues import GameMode
from common.contracts.scoring import AssetKind
from common.errors import ConflictError, FieldError, InvalidError, NotFoundError

DRIVERS = 5
CONSTRUCTORS = 2
CAP = 1000
"""What a line-up may cost, in tenths of a million."""
TEAMS_PER_SEASON = 3

NAME_MIN, NAME_MAX = 3, 100
DESCRIPTION_MAX = 1000
MEMBERS_MIN, MEMBERS_MAX, MEMBERS_DEFAULT = 2, 1000, 20

CODE_LENGTH = 8
CODE_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without I and 1, O and 0, which people mistake for each other when they read a code aloud."""

Asset = tuple[AssetKind, str]
"""What a team can hold: the kind and the id."""


def money(tenths: int) -> str:
    """Write an amount as people say it: ``$100.0M``."""
    return f"${tenths / 10:.1f}M"


def tidy_name(text: str) -> str:
    """Trim a name and make every run of white space one blank; raise `InvalidError` when that is no name."""
    name = " ".join(text.split())
    if not NAME_MIN <= len(name) <= NAME_MAX or not name.isprintable():
        raise InvalidError(
            "invalid_name", f"A name has {NAME_MIN} to {NAME_MAX} printable characters, not counting blanks around it."
        )
    return name


def join_code(draw: Callable[[Sequence[str]], str]) -> str:
    """Make a join code; ``draw`` picks one of a sequence, and in earnest that is `secrets.choice`."""
    return "".join(draw(CODE_ALPHABET) for _ in range(CODE_LENGTH))


class NewLeague(msgspec.Struct, frozen=True, kw_only=True):
    """What its founder decides about a league. ``max_members`` ``None`` is without limit, for public leagues only."""

    name: str
    description: str
    private: bool
    max_members: int | None
    mode: GameMode

    def __post_init__(self) -> None:
        """Refuse what no league can be."""
        if self.mode is not GameMode.BUDGET:
            raise ConflictError("mode_unavailable", "Draft leagues cannot be created yet; choose the mode budget.")
        if self.private and self.max_members is None:
            raise InvalidError("unlimited_private", "A private league needs max_members; only public ones go without.")


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Five drivers and two constructors, each once, in the order of their ids. Made by `select`."""

    drivers: tuple[str, ...]
    constructors: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a wrong count (`lineup_size`) and the same asset twice (`duplicate_asset`)."""
        if len(self.drivers) != DRIVERS or len(self.constructors) != CONSTRUCTORS:
            raise InvalidError(
                "lineup_size",
                f"A line-up has {DRIVERS} drivers and {CONSTRUCTORS} constructors;"
                f" this one has {len(self.drivers)} and {len(self.constructors)}.",
            )
        if len(set(self.drivers)) < DRIVERS or len(set(self.constructors)) < CONSTRUCTORS:
            raise InvalidError("duplicate_asset", "No driver and no constructor can be in a line-up twice.")

    def assets(self) -> list[Asset]:
        """Every asset, drivers first."""
        drivers = [(AssetKind.DRIVER, asset_id) for asset_id in self.drivers]
        return drivers + [(AssetKind.CONSTRUCTOR, asset_id) for asset_id in self.constructors]

    def cost(self, prices: Mapping[Asset, int | None]) -> int:
        """Add up the prices, in tenths of a million; raise `ConflictError` when the line-up cannot be had.

        ``prices`` has every asset of the season, with ``None`` for one that has no price yet.
        """
        assets = self.assets()
        if unknown := [asset for asset in assets if asset not in prices]:
            raise ConflictError("unknown_asset", f"{_listed(unknown)}: not in this season.", errors=_errors(unknown))
        if unpriced := [asset for asset in assets if prices[asset] is None]:
            raise ConflictError("asset_unpriced", f"{_listed(unpriced)}: no price yet.", errors=_errors(unpriced))
        cost = sum(prices[asset] or 0 for asset in assets)
        if cost > CAP:
            raise ConflictError("over_budget", f"This line-up costs {money(cost)}; the cap is {money(CAP)}.")
        return cost


def select(drivers: Sequence[str], constructors: Sequence[str]) -> Selection:
    """Make a selection of what was chosen, whatever the order."""
    return Selection(drivers=tuple(sorted(drivers)), constructors=tuple(sorted(constructors)))


def _listed(assets: Sequence[Asset]) -> str:
    return ", ".join(asset_id for _, asset_id in assets)


def _errors(assets: Sequence[Asset]) -> list[FieldError]:
    return [FieldError(field=f"{kind}s", message=asset_id) for kind, asset_id in assets]


class PlannedRound(msgspec.Struct, frozen=True, kw_only=True):
    """A round as the calendar has it. Line-ups lock at the start of ``lock_session``."""

    round: int
    race_id: str
    name: str
    sprint: bool
    lock_session: SessionKind
    lock_at: datetime
    race_starts_at: datetime
    sessions: list[Session]


def plan_round(race: Race) -> PlannedRound | None:
    """Read a race weekend; ``None`` while no session has a date, for then there is nothing to lock.

    Line-ups lock at the start of qualifying, or of the sprint. Where the calendar does not tell it, they lock at the
    start of the race, or of whatever is known to come last.
    """
    if not race.sessions:
        return None
    by_kind = {session.kind: session for session in race.sessions}
    last = max(race.sessions, key=lambda session: session.starts_at)
    start = by_kind.get(SessionKind.RACE, last)
    lock = by_kind.get(SessionKind.SPRINT if race.sprint else SessionKind.QUALIFYING, start)
    return PlannedRound(
        round=race.round,
        race_id=race.race_id,
        name=race.name,
        sprint=race.sprint,
        lock_session=lock.kind,
        lock_at=lock.starts_at,
        race_starts_at=start.starts_at,
        sessions=race.sessions,
    )


class Calendar(msgspec.Struct, frozen=True, kw_only=True):
    """A season's rounds in order, and the instant of the question by the database's clock.

    A round whose ``lock_at`` has come is locked, and so is every round with a lower number, however late it is run: a
    line-up plays from its round on, so one for a postponed round would change those that were locked in between.
    """

    season: int
    simulated: bool
    now: datetime
    rounds: list[PlannedRound]

    def last_locked(self) -> int:
        """Return the highest round that is locked, 0 before the first lock."""
        return max((planned.round for planned in self.rounds if planned.lock_at <= self.now), default=0)

    def open_round(self) -> PlannedRound | None:
        """Return the first round that still takes line-ups."""
        locked = self.last_locked()
        return next((planned for planned in self.rounds if planned.round > locked), None)

    def running_round(self) -> PlannedRound | None:
        """Return the round that is locked and whose race has not started."""
        running = [planned for planned in self.rounds if planned.lock_at <= self.now < planned.race_starts_at]
        return min(running, key=lambda planned: planned.race_starts_at, default=None)

    def admit(self, wanted: int | None) -> PlannedRound:
        """Decide which round a line-up is for that comes now.

        Without a wish that is the weekend being played: while one is locked and its race has not started, the line-up
        is late and refused (`round_locked`); otherwise it is the open round. The open round can be named at any time.
        """
        opened = self.open_round()
        if wanted is None:
            late = self.running_round()
            if late is not None:
                raise self._locked(late, opened)
            if opened is None:
                raise ConflictError("season_over", f"No round of {self.season} takes line-ups any more.")
            return opened
        named = next((planned for planned in self.rounds if planned.round == wanted), None)
        if named is None:
            raise NotFoundError("unknown_round", f"{self.season} has no round {wanted}.")
        if opened is None or named.round < opened.round:
            raise self._locked(named, opened)
        if named.round > opened.round:
            raise ConflictError("round_not_open", f"Round {wanted} does not take line-ups yet. {_opening(opened)}")
        return named

    def _locked(self, planned: PlannedRound, opened: PlannedRound | None) -> ConflictError:
        own = planned.lock_at <= self.now
        how = f"locked at {instant(planned.lock_at)}" if own else "is locked because a later one is"
        return ConflictError("round_locked", f"Round {planned.round}, {planned.name}, {how}. {_opening(opened)}")


def _opening(opened: PlannedRound | None) -> str:
    if opened is None:
        return "No later round is open."
    return f"The open round is {opened.round}, {opened.name}; it locks at {instant(opened.lock_at)}."


def instant(at: datetime) -> str:
    """Write an instant in UTC for people and machines: ``2026-03-07T05:00:00Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PricedAsset(msgspec.Struct, frozen=True, kw_only=True):
    """A driver or constructor of the season, with the price in tenths of a million once there is one."""

    kind: AssetKind
    asset_id: str
    name: str
    code: str | None
    number: int | None
    constructor_id: str | None
    """Whom a driver drives for in the round that was asked about."""
    price: int | None


class Player(msgspec.Struct, frozen=True, kw_only=True):
    """A user as others see him; the name is absent until `user.registered` has arrived, and once he is gone."""

    user_id: UUID
    username: str | None
