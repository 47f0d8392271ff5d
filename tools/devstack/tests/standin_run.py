"""`devstack run` with stand-ins, run as a script. Arguments: state directory, gateway port, then NAME:MANNERS pairs."""

import sys
from pathlib import Path

from devstack.errors import DevstackError
from devstack.plan import Addresses, Plan
from devstack.program import Child
from devstack.run import run
from devstack.season import Season
from devstack.stack import Stack

STATE, PORT = Path(sys.argv[1]), int(sys.argv[2])
MANNERS = dict(pair.split(":") for pair in sys.argv[3:])
NO_SERVERS = {"DATABASE_URL": "postgresql://nowhere/x", "NATS_URL": "nats://nowhere", "REDIS_URL": "redis://nowhere"}


def standins(addresses: Addresses, _: Season, env: object) -> Plan:
    del env

    def child(name: str) -> Child:
        manners = MANNERS.get(name, "").split(",")
        script = str(Path(__file__).with_name("standin.py"))
        argv = (sys.executable, script, name, str(addresses.ports[name]), str(STATE), *manners)
        return Child(name=name, argv=argv, url=addresses.url(name), env={})

    return Plan(
        early=(child("trackside"),), prepare=None, tiers=((child("auth"), child("leagues")), (child("gateway"),))
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def step(text: str) -> None:
    if text == "stopping":
        say(text)


if __name__ == "__main__":
    try:
        stack = Stack(STATE, port=PORT, environ=NO_SERVERS, report=say, step=step, preload=False, planner=standins)
        failure = run(stack, on_ready=lambda _: say("ready"))
    except DevstackError as error:
        failure = str(error)
    sys.exit(failure)
