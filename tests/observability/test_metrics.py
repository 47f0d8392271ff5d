"""O2 and O3: what the running services export, by name and by number."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import aiohttp
import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from devstack.stack import Stack
from lab import monitoring

SERIES = 2000
REQUESTS = 10_000
AT_ONCE = 40
CONCRETE = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-|[0-9a-f]{16}|@|\d{4,}")
"""An id, an address, a long number: what a label must not have."""
UNITS = ("_milliseconds", "_ms", "_minutes", "_hours", "_days", "_kilobytes", "_megabytes", "_kb", "_mb", "_percent")
HTTP = {"paddock_requests", "paddock_request_duration_seconds"}
PROCESS = {"event_loop_lag_seconds", "task_restarts", "process_cpu_seconds", "process_resident_memory_bytes"}
DENIALS = {"denials_following", "denials_held", "denials_dropped"}
SERVICE = (
    HTTP
    | PROCESS
    | DENIALS
    | {
        *("outbox_pending", "outbox_oldest_unpublished_age_seconds", "outbox_published", "outbox_publish_failures"),
        *("outbox_pruned", "database_pool_in_use", "database_pool_wait_seconds"),
    }
)
CONSUMING = SERVICE | {
    *("consumer_pending", "consumer_ack_pending", "consumer_ack_floor_age_seconds", "consumer_redelivered"),
    *("consumer_config_drift", "consumers_recreated", "broker_connected", "events_consumed"),
    *("event_process_duration_seconds", "event_latency_seconds"),
}
REQUIRED = {
    "auth": SERVICE | {"auth_refresh_reuse"},
    "ingest": SERVICE | {"ingest_sync_runs"},
    "leagues": CONSUMING,
    "scoring": CONSUMING | {"scoring_round_duration_seconds", "scoring_failures"},
    "analytics": CONSUMING,
    "webhooks": SERVICE | {"webhook_deliveries", "webhook_delivery_seconds", "webhook_endpoints"},
    "gateway": PROCESS
    | DENIALS
    | {"gateway_requests", "gateway_request_seconds", "gateway_limits_shared", "gateway_limited"}
    | {"gateway_limit_decisions", "gateway_stream_listeners", "gateway_stream_cut_off", "gateway_stream_events"},
    "keeper": PROCESS
    | {"dlq_depth", "dlq_letters", "advisories", "streams_recreated", "stream_bytes", "stream_messages"}
    | {"consumer_pending", "consumer_ack_floor_age_seconds"},
}
"""What each process must export, as `prometheus_client` names families: without ``_total``."""


@pytest.fixture(scope="module")
def stack(stacks: Callable[..., Stack]) -> Stack:
    """A season whose first session is far away."""
    return stacks(pace=36_000, seed=7, rounds="1-2")


async def exported(stack: Stack) -> dict[str, list[Metric]]:
    """Scrape every process that serves metrics."""
    async with httpx.AsyncClient(timeout=20) as client:
        pages = {
            name: (await client.get(f"{url}/metrics")).text
            for name, url in stack.urls.items()
            if name not in {"trackside", "mailbox"}
        }
    return {name: list(text_string_to_metric_families(page)) for name, page in pages.items()}


@pytest.mark.timeout(400)
async def test_ten_thousand_ids_make_no_series_of_their_own(
    stack: Stack, player_at: Callable[[Stack, str], Any]
) -> None:
    player = await player_at(stack, "cardinal").enter()
    before = {name: series(families) for name, families in (await exported(stack)).items()}
    gate = asyncio.Semaphore(AT_ONCE)
    statuses: Counter[int] = Counter()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as client:

        async def ask(method: str, url: str, headers: dict[str, str]) -> None:
            async with gate, client.request(method, url, headers=headers) as response:
                await response.read()
                statuses[response.status] += 1

        bearer = {"Authorization": player.bearer}
        await asyncio.gather(*(ask(*question, bearer if number % 2 else {}) for number, question in questions(stack)))
    assert sum(statuses.values()) == REQUESTS
    assert set(statuses) <= {400, 401, 403, 404, 405, 422}, statuses

    families = await exported(stack)
    counts = {name: series(found) for name, found in families.items()}
    print(counts)  # noqa: T201 - the figure of the note
    assert {name: count for name, count in counts.items() if count > SERIES} == {}
    assert {name: count - before[name] for name, count in counts.items() if count - before[name] > 400} == {}
    values = {
        (name, sample.name, value)
        for name, found in families.items()
        for family in found
        for sample in family.samples
        for label, value in sample.labels.items()
        if label != "le"
    }
    assert {entry for entry in values if CONCRETE.search(entry[2])} == set()


def series(families: list[Metric]) -> int:
    return sum(len(family.samples) for family in families)


def questions(stack: Stack) -> Iterator[tuple[int, tuple[str, str]]]:
    """Paths with an id each: of every kind of thing, through the gateway and past it, and where there is nothing."""
    gateway, urls = stack.gateway_url, stack.urls
    for number in range(REQUESTS):
        thing = uuid4()
        yield (
            number,
            [
                ("GET", f"{urls['leagues']}/api/v1/leagues/{thing}"),
                ("GET", f"{urls['leagues']}/api/v1/teams/{thing}"),
                ("GET", f"{urls['scoring']}/api/v1/leagues/{thing}/leaderboard"),
                ("GET", f"{urls['ingest']}/api/v1/races/{thing}"),
                ("GET", f"{urls['auth']}/{thing}"),
                ("GET", f"{urls['analytics']}/api/v1/analytics/{thing}"),
                ("POST", f"{urls['webhooks']}/api/v1/webhooks/{thing}/events"),
                (f"V{number}", f"{urls['leagues']}/api/v1/leagues/{thing}"),
                ("GET", f"{gateway}/api/v1/leagues/{thing}"),
                ("GET", f"{gateway}/{thing}"),
            ][number % 10],
        )


async def test_every_process_exports_what_it_must(stack: Stack) -> None:
    families = await exported(stack)
    missing = {
        name: REQUIRED[name] - {family.name for family in found} for name, found in families.items() if name in REQUIRED
    }
    assert {name: lacking for name, lacking in missing.items() if lacking} == {}
    assert set(families) == set(REQUIRED)


async def test_dashboard_and_alerts_ask_for_nothing_that_is_not_exported(stack: Stack) -> None:
    families = {family.name: family for found in (await exported(stack)).values() for family in found}
    recorded = {str(rule.get("record")) for rule in monitoring.rules()}
    for asked in monitoring.selectors():
        if asked.metric in recorded | {"up"}:
            continue
        names = asked.families & families.keys()
        assert names, f"{asked.where}: nobody exports {asked.metric}"
        family = families[names.pop()]
        unknown = asked.labels - monitoring.OWN_LABELS - {name for sample in family.samples for name in sample.labels}
        assert not family.samples or not unknown, f"{asked.where}: {asked.metric} has no {unknown}"


async def test_every_name_says_its_unit_and_every_metric_what_it_is(stack: Stack) -> None:
    found = {family.name: family for families in (await exported(stack)).values() for family in families}
    assert len(found) > 30
    assert {name: list(faults(family)) for name, family in found.items() if list(faults(family))} == {}


def faults(family: Metric) -> Iterator[str]:
    """Say what is wrong with a metric by the conventions of Prometheus."""
    name = family.name
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        yield "a name is of small letters and underscores"
    if name.endswith(UNITS):
        yield "times are in seconds, sizes in bytes, shares between 0 and 1"
    if family.type == "counter" and not all(sample.name.endswith("_total") for sample in family.samples):
        yield "a counter ends in _total"
    if family.type != "counter" and name.endswith("_total"):
        yield "only a counter ends in _total"
    if family.type == "histogram" and not name.endswith(("_seconds", "_bytes")):
        yield "a histogram has a unit"
    if len(family.documentation.split()) < 2:
        yield "what it is stands in its help"


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("lapTime", "gauge", "Time of a lap"),
        ("lap:time", "gauge", "Time of a lap"),
        ("lap_ms", "gauge", "Time of a lap"),
        ("laps_total", "gauge", "Laps that were driven"),
        ("lap", "histogram", "Time of a lap"),
        ("lap_seconds", "gauge", ""),
    ],
)
def test_the_rules_about_names_can_fail(name: str, kind: str, text: str) -> None:
    assert list(faults(Metric(name, text, kind)))
