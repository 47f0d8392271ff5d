"""The control routes under `/control`: faults, amendments, and what is going on."""

from datetime import datetime

from litestar import Router, delete, get, post
from litestar.exceptions import HTTPException
from msgspec import Struct

from trackside.amendments import Amendment, AmendmentError
from trackside.faults import Fault, FaultOrder
from trackside.server import Server
from trackside.state import NumberedAmendment
from trackside.timetable import Slot


class ServerState(Struct, frozen=True):
    """What the server is doing. `start` and `pace` (seconds per weekend) give the same timetable to a new server."""

    season: int
    source: str
    seed: int
    start: datetime
    pace: float
    now: datetime
    timetable: tuple[Slot, ...]
    faults: tuple[Fault, ...]
    amendments: tuple[NumberedAmendment, ...]
    requests: dict[str, int]


@get("/state", sync_to_thread=False)
def show_state(server: Server) -> ServerState:
    """What the server is doing."""
    return ServerState(
        season=server.source.year,
        source=server.label,
        seed=server.config.seed,
        start=server.state.start,
        pace=server.config.pace,
        now=server.now(),
        timetable=() if server.timetable is None else server.timetable.slots,
        faults=server.faults.in_force,
        amendments=server.state.amendments,
        requests=dict(sorted(server.requests.items())),
    )


@post("/faults", sync_to_thread=False)
def add_fault(server: Server, data: FaultOrder) -> Fault:
    """Put a fault in force."""
    return server.faults.add(data)


@delete("/faults", sync_to_thread=False)
def clear_faults(server: Server) -> None:
    """Lift all faults."""
    server.faults.clear()


@post("/amend", sync_to_thread=False)
def amend(server: Server, data: Amendment) -> NumberedAmendment:
    """Take a decision: 404 without such a round, 409 where the result does not allow it."""
    try:
        return server.amend(data)
    except LookupError as error:
        raise HTTPException(status_code=404, detail=str(error)) from error
    except AmendmentError as error:
        raise HTTPException(status_code=409, detail=str(error)) from error


@delete("/amend/{number:int}", sync_to_thread=False)
def take_back(server: Server, number: int) -> None:
    """Undo a decision: 404 without it, 409 where a later one stands on it."""
    try:
        server.take_back(number)
    except LookupError as error:
        raise HTTPException(status_code=404, detail=str(error)) from error
    except AmendmentError as error:
        raise HTTPException(status_code=409, detail=str(error)) from error


@post("/reset", status_code=204, sync_to_thread=False)
def reset(server: Server) -> None:
    """Lift all faults, undo all decisions, count requests from 0."""
    server.reset()


control = Router("/control", route_handlers=[show_state, add_fault, clear_faults, amend, take_back, reset])
