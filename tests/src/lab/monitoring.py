"""What `deploy/monitoring` asks of Prometheus, read from its files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

FOLDER = Path(__file__).parents[3] / "deploy" / "monitoring"
VARIABLES = {"$__rate_interval": "5m", "$job": "scoring", "$consumer": "scoring_a"}
"""What Grafana puts in."""
OWN_LABELS = {"job", "instance", "le"}
"""Prometheus gives these."""


@dataclass(frozen=True)
class Asked:
    """One selector of one expression."""

    where: str
    metric: str
    labels: frozenset[str]

    @property
    def families(self) -> set[str]:
        """The families that a selector may mean, as `prometheus_client` names them."""
        ends = ("_total", "_bucket", "_sum", "_count")
        return {self.metric} | {self.metric.removesuffix(end) for end in ends if self.metric.endswith(end)}


def groups() -> list[dict[str, Any]]:
    """The groups of rules."""
    found: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return found


def rules() -> list[dict[str, Any]]:
    """Every rule."""
    return [rule for group in groups() for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Every panel of the dashboard that asks something."""
    return [panel for panel in json.loads((FOLDER / "event-flow.json").read_text())["panels"] if panel.get("targets")]


def expressions() -> list[tuple[str, str]]:
    """Every expression, with where it stands."""
    asked = [(str(rule.get("alert") or rule["record"]), str(rule["expr"])) for rule in rules()]
    for panel in panels():
        asked += [(f"panel {panel['title']}", target["expr"]) for target in panel["targets"]]
    return [(where, _filled(expression)) for where, expression in asked]


def _filled(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def selectors() -> Iterator[Asked]:
    """Every selector of every expression."""
    for where, expression in expressions():
        yield from selectors_of(where, expression)


def selectors_of(where: str, expression: str) -> list[Asked]:
    """The selectors of one expression; raises `ValueError` when it does not parse."""
    found: list[Asked] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = [matcher.name for matcher in node.matchers.matchers]
            found.append(Asked(where, str(node.name), frozenset(matchers)))

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found
