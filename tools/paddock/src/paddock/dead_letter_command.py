"""`paddock dlq`: what an operator types about dead letters, and what is printed. A look is audited as an act is."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from nats.js import JetStreamContext

from common.letters import Letter
from paddock import audit
from paddock.broker import connected
from paddock.dead_letters import LetterError, drop, every, find, redrive

REASON_CHARACTERS = 80
"""Of a reason, in the list."""


async def run(arguments: Sequence[str]) -> list[str]:
    """Run `paddock dlq …`; return the lines to print. Wrong arguments end the process, with how they are meant."""
    chosen = _parser().parse_args(list(arguments))
    async with connected() as client:
        js = client.jetstream()
        match chosen.act:
            case "list":
                return await _list(js, chosen.consumer, as_json=chosen.json)
            case "show":
                return await _show(js, chosen.id, as_json=chosen.json)
            case "redrive" if chosen.id is None:
                return await _redrive_all(js, chosen.consumer)
            case "redrive":
                return [await redrive(js, chosen.id)]
            case _:
                return [await drop(js, chosen.id)]


async def _redrive_all(js: JetStreamContext, consumer: str | None) -> list[str]:
    """Redrive what is there now; one letter that cannot be keeps no other back."""
    done, refused = [], []
    for letter_id in [letter.id async for letter in every(js, consumer)]:
        try:
            done.append(await redrive(js, letter_id))
        except LetterError as error:
            refused.append(f"{letter_id}: {error}")
    if refused:
        raise LetterError(
            "\n".join([*done, *refused, f"{len(refused)} of {len(done) + len(refused)} stay where they are"])
        )
    return done or ["no letters"]


async def _list(js: JetStreamContext, consumer: str | None, *, as_json: bool) -> list[str]:
    await audit.record(js, "dlq.list", consumer=consumer or "every")
    found = [_facts(letter) async for letter in every(js, consumer)]
    if as_json:
        return [json.dumps(found, ensure_ascii=False)]
    if not found:
        return ["no letters"]
    width = max(len(facts["id"]) for facts in found)
    return [
        f"{facts['id']:<{width}}  {facts['time'][:19]}  {facts['tries']:>3} tries  "
        f"{facts['error']}: {facts['reason'][:REASON_CHARACTERS]}"
        for facts in found
    ]


async def _show(js: JetStreamContext, letter_id: str, *, as_json: bool) -> list[str]:
    letter, _ = await find(js, letter_id)
    await audit.record(js, "dlq.show", letter=letter_id)
    facts, headers, body = _facts(letter), dict(sorted(letter.headers.items())), _body(letter)
    if as_json:
        return [json.dumps({**facts, "headers": headers, "body": body}, ensure_ascii=False)]
    lines = [f"{name:<10} {value}" for name, value in facts.items()]
    lines += ["", *(f"{name}: {value}" for name, value in headers.items()), ""]
    return [*lines, body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)]


def _facts(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "consumer": letter.durable,
        "subject": letter.subject,
        "sequence": letter.sequence,
        "event": letter.headers.get("ce-id", ""),
        "time": letter.headers.get("paddock-time", ""),
        "tries": letter.tries,
        "error": letter.error,
        "reason": letter.reason,
        "trace": letter.trace_id,
        "origin": letter.origin,
    }


def _body(letter: Letter) -> Any:  # noqa: ANN401 - whatever JSON it is
    try:
        return json.loads(letter.body)
    except ValueError:
        return letter.body.decode(errors="replace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paddock dlq")
    acts = parser.add_subparsers(dest="act", required=True)
    listed = acts.add_parser("list", help="every letter: id, time, tries, why")
    listed.add_argument("--consumer", help="of one durable only")
    listed.add_argument("--json", action="store_true")
    shown = acts.add_parser("show", help="all that is known of a letter")
    shown.add_argument("id")
    shown.add_argument("--json", action="store_true")
    given = acts.add_parser("redrive", help="give letters back to their consumers")
    which = given.add_mutually_exclusive_group(required=True)
    which.add_argument("--id")
    which.add_argument("--consumer", help="all letters of one durable")
    which.add_argument("--all", action="store_true")
    acts.add_parser("drop", help="take a letter out for good").add_argument("--id", required=True)
    return parser
