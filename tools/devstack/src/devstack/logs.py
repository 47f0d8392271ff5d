"""Log files of children: kept from one run to the next, and asked what went wrong."""

import json
from pathlib import Path

TAIL_BYTES = 64 * 1024
LONGEST_REASON = 300
_SIGNS = ("FATAL", "PANIC", "[FTL]", "[ERR]", "rror")


def rotate(log: Path) -> None:
    """Begin an empty log and keep the last one as ``NAME.log.1``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size:
        log.replace(log.with_name(f"{log.name}.1"))


def last_error(log: Path, begins: int = 0) -> str:
    """Answer in one line what the log, from byte ``begins`` on, says went wrong: its last error, else its last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(begins, log.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return "no output"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        if reason := _error_in(line):
            return reason[:LONGEST_REASON]
    return _last_words(lines[-1])[:LONGEST_REASON] if lines else "no output"


def _last_words(line: str) -> str:
    """A line that tells of no error, short where it is a record."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    return f'its log tells no error, the last entry is "{record.get("event")}"' if isinstance(record, dict) else line


def _error_in(line: str) -> str | None:
    try:
        record = json.loads(line)
    except ValueError:
        return line if any(sign in line for sign in _SIGNS) else None
    if not isinstance(record, dict) or record.get("level") not in {"error", "critical"}:
        return None
    words = [str(record.get("event", "error"))]
    words += [str(record[key]) for key in ("error", "reason", "detail") if record.get(key)]
    trace = record.get("exception")
    if isinstance(trace, list) and trace and isinstance(trace[-1], dict):
        words.append(f"{trace[-1].get('exc_type')}: {trace[-1].get('exc_value')}")
    return ": ".join(words).replace("\n", " ")
