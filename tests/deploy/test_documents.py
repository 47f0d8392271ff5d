"""The operators' page names what there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
DECLARED = r"\b(Counter|Total|Gauge|Histogram)\(\s*\"([a-z_]+)\""
COUNTERS = {"Counter", "Total"}
"""A module that also counts with `collections.Counter` calls Prometheus's ``Total``."""


def declared() -> set[str]:
    found = {
        name.removesuffix("_total") + ("_total" if kind in COUNTERS else "")
        for folder in ("libs", "services", "gateway", "tools")
        for path in ROOT.glob(f"{folder}/**/src/**/*.py")
        for kind, name in re.findall(DECLARED, path.read_text(encoding="utf-8"))
    }
    assert len(found) > 10, "the sources were not found"
    return found


def test_the_page_names_every_metric_and_no_other() -> None:
    row = r"^\| (`[a-z]+_[a-z_]+(?:\{.*?\})?`.*?) \|"
    named = {name for names in re.findall(row, PAGE, re.MULTILINE) for name in re.findall(r"`([a-z]+_[a-z_]+)", names)}
    assert named == declared()


def test_every_link_of_the_pages_leads_to_a_file() -> None:
    for page in ("docs/operations.md", "deploy/README.md"):
        file = ROOT / page
        for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text(encoding="utf-8")):
            assert (file.parent / target).exists(), f"{page}: {target}"
