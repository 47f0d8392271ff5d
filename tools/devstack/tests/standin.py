"""A stand-in for a service, run as a script: ready over HTTP, dies or refuses to die when told.

Arguments: name, port, folder for its notes, and any of `stubborn` (ignores SIGTERM), `breeds` (starts a process that
outlives it), `never-ready`, `sickly` (dies at once).
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import FrameType

NAME, PORT, NOTES = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
MANNERS = sys.argv[4:]


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/die":
            sys.stdout.write(json.dumps({"level": "error", "event": "gearbox failed", "error": "no oil"}) + "\n")
            sys.stdout.write(json.dumps({"level": "info", "event": "bye"}) + "\n")
            sys.stdout.flush()
            os._exit(3)
        self.send_response(503 if "never-ready" in MANNERS else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def end(*_: int | FrameType | None) -> None:
    if "stubborn" not in MANNERS:
        with (NOTES / "stopped").open("a") as file:
            file.write(f"{NAME}\n")
        time.sleep(0.05)  # longer than it takes to end the next tier, if that did not wait for us
        os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    if "sickly" in MANNERS:
        sys.exit("Error: born sick")
    if "breeds" in MANNERS:
        child = subprocess.Popen(["/bin/sleep", "60"])
        (NOTES / "bred").write_text(str(child.pid))
    server = HTTPServer(("127.0.0.1", PORT), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        signal.pause()
