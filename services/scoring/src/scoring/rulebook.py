"""Rule sets as the API shows them: every number by its place in the rule file, with its source and how sure it is."""

from collections.abc import Iterator
from typing import Any

import msgspec

from scoring.rules import RuleSet, rule_set, rule_set_names, seasons
from scoring.schemas import RuleComponent, RuleSets, RuleSetView
from scoring.tables import Mark

SESSIONS = ("qualifying", "sprint", "race")
PROVENANCE = ("mark", "source", "otherwise")


def rule_sets() -> RuleSets:
    """Show every rule set that ships with Paddock."""
    return RuleSets(items=[_view(rule_set(name)) for name in rule_set_names()])


def _view(rules: RuleSet) -> RuleSetView:
    tables = msgspec.json.decode(msgspec.json.encode(rules))
    by_season = seasons()
    return RuleSetView(
        name=rules.name,
        title=rules.title,
        hash=rules.content_hash,
        default=by_season.default == rules.name,
        seasons=sorted(int(season) for season, name in by_season.seasons.items() if name == rules.name),
        components=[component for session in SESSIONS for component in _components(session, tables[session])],
    )


def _components(name: str, table: dict[str, Any]) -> Iterator[RuleComponent]:
    """Walk a table: its own values first, then the tables in it."""
    own = {key: value for key, value in table.items() if key not in PROVENANCE and value not in (None, [])}
    inner = {key: value for key, value in own.items() if _holds_tables(value)}
    values = {key: value for key, value in own.items() if key not in inner}
    if values:
        mark = table.get("mark")
        yield RuleComponent(
            name=name,
            values=values,
            mark=Mark(mark) if mark else None,
            source=table.get("source"),
            otherwise=table.get("otherwise"),
        )
    for key, value in inner.items():
        rows = value if isinstance(value, list) else [value]
        for number, row in enumerate(rows):
            suffix = f".{number}" if isinstance(value, list) else ""
            yield from _components(f"{name}.{key}{suffix}", row)


def _holds_tables(value: Any) -> bool:  # noqa: ANN401 - any value of JSON
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))
