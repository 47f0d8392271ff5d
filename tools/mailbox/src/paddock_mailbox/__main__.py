"""The command line: `python -m paddock_mailbox`."""

import argparse
import contextlib
import logging
import os
import socket
import sys

import uvicorn

from paddock_mailbox.app import create_app
from paddock_mailbox.letters import KEPT, Box

log = logging.getLogger("mailbox")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="paddock-mailbox",
        description=f"Takes every letter by SMTP, delivers none, and shows the last {KEPT} on a page.",
    )
    parser.add_argument(
        "--host", default=os.environ.get("HOST", "127.0.0.1"), help="address to listen on (%(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=os.environ.get("PORT", "8025"), help="port of the page (%(default)s)"
    )
    parser.add_argument("--smtp-port", type=int, default=1025, help="port for letters (%(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop. Answers 2 when an address cannot be listened on."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    try:
        listener = socket.create_server((arguments.host, arguments.port))
        socket.create_server((arguments.host, arguments.smtp_port)).close()
    except OSError as error:
        print(f"mailbox: cannot listen on {arguments.host}: {error.strerror}", file=sys.stderr)
        return 2
    host, port = listener.getsockname()[:2]
    log.info("letters to %s:%d are shown on http://%s:%d/", host, arguments.smtp_port, host, port)
    app = create_app(Box(), arguments.host, arguments.smtp_port)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn repeats Ctrl-C after it has stopped in order
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
