"""What everything costs while nothing happens: processor time of each process over a minute, as a share of one core.

    bench/idle.py [--seconds 60] [--json]

A whole stack with its simulator in the middle of a week: no session is near, nobody asks. The servers (PostgreSQL,
NATS, Valkey) and the simulator are listed apart.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from devstack.embedded import Embedded
from devstack.program import Program
from devstack.stack import Stack

TICKS = os.sysconf("SC_CLK_TCK")
SETTLE_SECONDS = 20.0
BOUND = 0.05
"""Of one core, for services, gateway and keeper together."""
APART = {"postgres", "nats", "valkey", "trackside"}


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and of the children it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


def family(pid: int) -> list[int]:
    """A process and its descendants: PostgreSQL is many."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def look(stack: Stack) -> dict[str, float]:
    """Processor time of each part until now."""
    parts: dict[str, Embedded | Program] = {**stack.servers, **stack.programs}
    return {name: sum(cpu_seconds(pid) for pid in family(part.pid)) for name, part in parts.items() if part.pid}


def measure(seconds: float) -> dict[str, float]:
    """Start a stack, let it settle, and return each part's share of one core."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder) / "state", pace=36_000, seed=7, rounds="1", report=lambda _: None)
        with stack:
            time.sleep(SETTLE_SECONDS)
            before, began = look(stack), time.monotonic()
            time.sleep(seconds)
            after, took = look(stack), time.monotonic() - began
    return {name: (after[name] - before[name]) / took for name in before}


def main() -> int:
    """Measure and print; 1 when it costs too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    shares = measure(arguments.seconds)
    ours = sum(share for name, share in shares.items() if name not in APART)
    if arguments.json:
        print(json.dumps({"idle_share_of_one_core": round(ours, 4), "parts": shares}))
    else:
        for name, share in sorted(shares.items(), key=lambda item: (item[0] in APART, -item[1])):
            print(f"{name:<12}{share:8.2%}{'   (apart)' if name in APART else ''}")
        print(f"{'together':<12}{ours:8.2%} of one core, bound {BOUND:.0%}")
    return int(ours > BOUND)


if __name__ == "__main__":
    sys.exit(main())
