"""Small classifications to score, shared by the tests of the engine."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from common.contracts.ingest import Car, CarStatus, SessionKind
from scoring.domain import Absentee, Facts, LedgerRow, ScoredSession
from scoring.engine import NOTHING_KNOWN, score
from scoring.rules import rule_set

MakeCar = Callable[..., Car]


class Scored:
    """Ledger rows with the questions that tests ask of them."""

    def __init__(self, rows: list[LedgerRow]) -> None:
        self.rows = rows

    def of(self, asset_id: str) -> dict[str, LedgerRow]:
        """Rows of one asset, by component."""
        return {row.component.value: row for row in self.rows if row.asset_id == asset_id}

    def points(self, asset_id: str) -> dict[str, int]:
        """Points of one asset, by component, leaving out what is not known."""
        return {name: row.points for name, row in self.of(asset_id).items() if not row.missing}

    def total(self, asset_id: str) -> int:
        return sum(self.points(asset_id).values())


Score = Callable[..., Scored]


@pytest.fixture(scope="session")
def car() -> MakeCar:
    """Make a classified car; ``team/driver`` names both."""

    def make(name: str, position: int, status: CarStatus = CarStatus.FINISHED, **more: Any) -> Car:
        team, _, driver = name.partition("/")
        return Car(
            driver_id=driver,
            constructor_id=team,
            number=None,
            position=position,
            status=status,
            status_text=str(status),
            **more,
        )

    return make


@pytest.fixture(scope="session")
def scored() -> Score:
    """Score a session by the official rules of 2025, or those named."""

    def make(
        kind: SessionKind,
        cars: Sequence[Car],
        facts: Facts = NOTHING_KNOWN,
        absent: Sequence[Absentee] = (),
        rules: str = "official-2025",
    ) -> Scored:
        session = ScoredSession(season=2025, round=1, session=kind, result_version=3)
        return Scored(score(session, cars, rule_set(rules), facts, absent))

    return make
