"""Rule sets: the numbers of the game, kept as one readable file each and loaded into frozen structs.

Each number stands beside where it comes from and whether sources agree on it. Adding next year's rules is adding
a file to ``rules/`` and a line to ``rules/seasons.toml``. A file may say only what changed since one it ``extends``.
"""

import hashlib
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from common.contracts.ingest import SessionKind
from common.errors import InvalidError, NotFoundError
from scoring.tables import Part, QualifyingRules, RaceRules, RuleTables


class RuleSet(RuleTables, frozen=True, kw_only=True):
    """A rule file with its identity: two rule sets of one name and different numbers differ in ``content_hash``."""

    content_hash: str
    """SHA-256 of the tables in canonical JSON, in hex; layout and comments of the file do not matter."""

    def of(self, session: SessionKind) -> QualifyingRules | RaceRules | None:
        """Tables of a session, or ``None`` for a session that is not scored (practice, sprint qualifying)."""
        match session:
            case SessionKind.QUALIFYING:
                return self.qualifying
            case SessionKind.SPRINT:
                return self.sprint
            case SessionKind.RACE:
                return self.race
            case _:
                return None


class Seasons(Part, frozen=True, kw_only=True):
    """Which rule set a season is played by."""

    default: str
    seasons: dict[str, str]

    def rule_set_of(self, season: int) -> str:
        """Name of the rule set of ``season``; a season without one of its own uses the default."""
        return self.seasons.get(str(season), self.default)


def parse_rule_set(text: str) -> RuleSet:
    """Read a rule file; raise `InvalidError` that names what is wrong and where."""
    try:
        tables = msgspec.convert(_merged(text, above=()), RuleTables)
    except (msgspec.DecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidError("invalid_rule_set", f"The rule set cannot be read: {error}.") from error
    digest = hashlib.sha256(msgspec.json.encode(tables, order="sorted")).hexdigest()
    return RuleSet(content_hash=digest, **{field: getattr(tables, field) for field in tables.__struct_fields__})


@cache
def rule_set(name: str) -> RuleSet:
    """Load a rule set that ships with Paddock, by its name; raise `NotFoundError` for a name that does not."""
    found = parse_rule_set(_shipped(name))
    if found.name != name:
        raise InvalidError("invalid_rule_set", f"The file {name}.toml calls itself {found.name}.")
    return found


@cache
def rule_set_names() -> tuple[str, ...]:
    """Names of the rule sets that ship with Paddock, in order."""
    folder = files("scoring") / "rules"
    found = (entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return tuple(sorted(name for name in found if name != "seasons"))


@cache
def seasons() -> Seasons:
    """Read which season uses which rule set, from ``rules/seasons.toml``."""
    text = (files("scoring") / "rules" / "seasons.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(text, type=Seasons)


def rule_set_of(season: int) -> RuleSet:
    """Load the rule set that ``season`` is played by."""
    return rule_set(seasons().rule_set_of(season))


def _shipped(name: str) -> str:
    if name not in rule_set_names():
        raise NotFoundError("unknown_rule_set", f"There is no rule set {name}.")
    return (files("scoring") / "rules" / f"{name}.toml").read_text(encoding="utf-8")


def _merged(text: str, above: tuple[str, ...]) -> dict[str, Any]:
    """Read a file over the one it extends; ``above`` are the names that extend this one."""
    own = tomllib.loads(text)
    extended = own.pop("extends", None)
    if extended is None:
        return own
    if extended in above or extended == own.get("name"):
        raise InvalidError("invalid_rule_set", f"The rule set {extended} extends itself.")
    return _overlay(_merged(_shipped(str(extended)), (*above, str(own.get("name")))), own)


def _overlay(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one file's tables over another's; a number with its mark and source is replaced as a whole."""
    merged = dict(under)
    for key, value in over.items():
        below = under.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and "mark" not in value:
            merged[key] = _overlay(below, value)
        else:
            merged[key] = value
    return merged
