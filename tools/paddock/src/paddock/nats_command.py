"""The commands `paddock nats` and `paddock subscribers`."""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

import nats.errors

from common import clock
from paddock import nats_users
from paddock.broker import OperatorSettings
from paddock.nats_authority import Authority, FolderError
from paddock.nats_keys import KeyBrokenError
from paddock.subscribers import MAX_DELIVER, SubscriberError, Subscribers, check_name, check_subjects, push

TROUBLE = (FolderError, KeyBrokenError, SubscriberError, nats.errors.Error, OSError)
"""What a command reports in one line."""


def run(command: str, arguments: Sequence[str]) -> list[str]:
    """Run `paddock nats …` or `paddock subscribers …`; return the lines to print, none of them secret.

    Raises one of `TROUBLE`; wrong arguments end the process, with how they are meant.
    """
    settings = OperatorSettings.load()
    chosen = _parser(command).parse_args(list(arguments))
    if command == "nats":
        return _nats(chosen, settings)
    return asyncio.run(_subscribers(chosen, settings))


def init(folder: Path, resolver: Path | None = None, *, apart: bool = False) -> list[str]:
    """Make keys, the server's part and the credentials of every deployable, or bring them up to the code."""
    authority = Authority(folder, apart=apart)
    made = authority.prepare(resolver)
    return made + [authority.issue(user, permissions) for user, permissions in nats_users.users().items()]


def _nats(chosen: argparse.Namespace, settings: OperatorSettings) -> list[str]:
    if chosen.act == "init":
        return init(chosen.folder, chosen.resolver_dir, apart=chosen.apart)
    authority = Authority.found(Path(settings.nats_dir))
    if chosen.act == "renew":
        permissions = nats_users.users().get(chosen.user)
        if permissions is None:
            raise FolderError(f"{chosen.user} is no user; these are: {', '.join(nats_users.users())}")
        old = authority.renew(chosen.user)
        return [
            authority.issue(chosen.user, permissions),
            f"restart {chosen.user} with {authority.credentials_of(chosen.user)}, then: paddock nats revoke {old}",
        ]
    token = authority.revoke(chosen.key, int(clock.now().timestamp()))
    asyncio.run(push(authority, settings.nats_url, token))
    return [f"{chosen.key}: revoked"]


async def _subscribers(chosen: argparse.Namespace, settings: OperatorSettings) -> list[str]:
    authority = Authority.found(Path(settings.nats_dir))
    if chosen.act != "list":
        check_name(chosen.name)
    if chosen.act == "add":
        check_subjects(chosen.subjects.split(","), personal=chosen.include_personal)
    async with Subscribers.opened(authority, settings.nats_url) as subscribers:
        match chosen.act:
            case "add":
                return await subscribers.add(
                    chosen.name,
                    chosen.subjects.split(","),
                    new=chosen.deliver == "new",
                    max_deliver=chosen.max_deliver,
                    personal=chosen.include_personal,
                )
            case "remove":
                await subscribers.remove(chosen.name)
                return [f"{chosen.name}: removed; its connection is cut off"]
            case _:
                lines = []
                for record, durable in await subscribers.all():
                    behind = "its durable is gone" if durable is None else f"{durable.num_pending or 0} events behind"
                    since = record.created.date().isoformat()
                    lines.append(f"{record.name}  {', '.join(record.subjects)}  since {since}  {behind}")
                return lines or ["no subscribers"]


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"paddock {command}")
    acts = parser.add_subparsers(dest="act", required=True)
    if command == "nats":
        made = acts.add_parser("init", help="make keys and credentials, or bring them up to the code; safe to repeat")
        made.add_argument("folder", type=Path)
        made.add_argument("--resolver-dir", type=Path, help="where the server keeps the accounts it was told of")
        made.add_argument("--apart", action="store_true", help="creds/USER/nats.creds: a folder to mount for each")
        acts.add_parser("renew", help="a new key for a deployable").add_argument("user")
        acts.add_parser("revoke", help="refuse a key from now on").add_argument("key")
        return parser
    added = acts.add_parser("add", help="let somebody read events")
    added.add_argument("name")
    added.add_argument("--subjects", required=True, help="'race.>,results.>'")
    added.add_argument("--deliver", choices=("all", "new"), default="all")
    added.add_argument("--max-deliver", type=int, default=MAX_DELIVER)
    added.add_argument("--include-personal", action="store_true", help="events about people too (user.>)")
    acts.add_parser("remove", help="cut a subscriber off").add_argument("name")
    acts.add_parser("list", help="who reads what, and how far behind")
    return parser
