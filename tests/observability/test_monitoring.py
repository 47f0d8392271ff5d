"""Dashboards and alerts: every expression parses, every alert tells what to do, and trouble sets them off.

That every metric in them is exported by what runs is asked in `test_metrics`, which has a whole stack.
"""

import re
import shutil
import subprocess

import pytest

from lab import monitoring

OPERATIONS = monitoring.FOLDER.parents[1] / "docs" / "operations.md"


@pytest.mark.parametrize(("where", "expression"), monitoring.expressions())
def test_every_expression_parses(where: str, expression: str) -> None:
    assert monitoring.selectors_of(where, expression), f"{where} asks for nothing"


def test_what_does_not_parse_is_noticed() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        monitoring.selectors_of("somewhere", "sum(rate(laps_total[5m])")


def test_every_alert_says_what_it_is_how_urgent_it_is_and_what_to_do() -> None:
    headings = re.findall(r"^#+ (.+)$", OPERATIONS.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    for rule in monitoring.rules():
        if "record" in rule:
            continue
        name, notes = rule["alert"], rule["annotations"]
        assert rule["labels"]["severity"] in {"page", "ticket"}, name
        assert set(notes) == {"summary", "description", "runbook"}, name
        page, _, anchor = notes["runbook"].partition("#")
        assert page == "docs/operations.md", name
        assert anchor in anchors, f"{name}: {page} has no heading {anchor}"


def test_names_of_rules_and_panels_are_each_used_once() -> None:
    names = [rule.get("alert") or rule["record"] for rule in monitoring.rules()]
    assert len(set(names)) == len(names)
    panels = monitoring.panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["title"], panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_the_dashboard_shows_all_of_the_flow() -> None:
    shown = {asked.metric for asked in monitoring.selectors() if asked.where.startswith("panel ")}
    assert shown >= {
        *("outbox_oldest_unpublished_age_seconds", "outbox_pending", "outbox_published_total"),
        *("outbox_publish_failures_total", "consumer_pending", "consumer_ack_floor_age_seconds"),
        *("consumer_redelivered", "consumer_config_drift", "events_consumed_total", "dlq_depth", "advisories_total"),
        *("event_latency_seconds_bucket", "event_loop_lag_seconds", "broker_connected", "streams_recreated_total"),
    }


def test_trouble_sets_the_alerts_off_and_a_good_week_is_quiet() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool, which comes with Prometheus, is not installed")
    ran = subprocess.run(  # noqa: S603 - found on the path
        [promtool, "test", "rules", "alerts_test.yml"],
        cwd=monitoring.FOLDER,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
