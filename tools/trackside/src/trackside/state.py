"""What survives a restart, in one small file: when the season started, and what the stewards decided."""

import os
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from trackside.amendments import Amendment
from trackside.config import ConfigError


class NumberedAmendment(Struct, frozen=True):
    """A decision and its number."""

    id: int
    decision: Amendment


class State(Struct, frozen=True, kw_only=True):
    """The file's content."""

    season: int
    start: datetime
    amendments: tuple[NumberedAmendment, ...] = ()


def read(path: Path | None, season: int) -> State | None:
    """The state an earlier run left, or `None`.

    Raises:
        ConfigError: the file is of another season, or not a state.
    """
    if path is None or not path.is_file():
        return None
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} is not a state of trackside ({error}); remove it to start anew") from error
    if state.season != season:
        raise ConfigError(f"{path} belongs to season {state.season}, not {season}; remove it or name another file")
    return state


def write(path: Path | None, state: State) -> None:
    """Put the file in place whole, or not at all."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=2))
    os.replace(draft, path)  # noqa: PTH105 - says what it does: atomically
