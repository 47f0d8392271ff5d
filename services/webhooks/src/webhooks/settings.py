"""What `webhooks` is told by its environment."""

from typing import Annotated, ClassVar

from msgspec import Meta

from common.settings import SECRET, Environment, Settings, SettingsError, described

PORTS = r"^\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*$"


class WebhooksSettings(Settings, frozen=True, kw_only=True):
    """Whom we send to, how patiently, and how much at once."""

    prefix: ClassVar[str] = "WEBHOOKS_"

    encryption_secret: Annotated[
        str, Meta(min_length=32), described("Encrypts the signing secrets in the database", **SECRET)
    ] = "paddock-development-webhooks-encryption-secret"  # noqa: S105 - refused in production
    allow_http: Annotated[bool, described("Send to http:// too; production refuses it")] = False
    allow_private: Annotated[bool, described("Send to loopback and private addresses too; production refuses it")] = (
        False
    )
    ports: Annotated[str, Meta(pattern=PORTS), described("Ports that may be sent to, as 443,8000-8999")] = "443,8443"
    endpoints_per_user: Annotated[int, Meta(ge=1, le=1000), described("Endpoints one user may have")] = 10
    concurrency: Annotated[int, Meta(ge=1, le=256), described("Requests under way in one process")] = 32
    endpoint_concurrency: Annotated[
        int, Meta(ge=1, le=32), described("Requests under way to one endpoint in one process")
    ] = 2
    connect_seconds: Annotated[float, Meta(gt=0, le=10), described("Time to connect to a receiver")] = 3.0
    request_seconds: Annotated[float, Meta(gt=0, le=60), described("Time for a receiver's whole answer")] = 10.0
    lease_seconds: Annotated[
        float, Meta(gt=0, le=600), described("A delivery whose process died is taken over after this")
    ] = 30.0
    retry_factor: Annotated[float, Meta(gt=0, le=10), described("Times the pauses between attempts; 1 is the rule")] = (
        1.0
    )
    disable_after_failures: Annotated[
        int, Meta(ge=1), described("Failed attempts in a row after which an endpoint is disabled")
    ] = 20
    disable_after_seconds: Annotated[
        float, Meta(ge=0), described("How long they must have failed for that, in seconds")
    ] = 86_400.0
    old_secret_seconds: Annotated[
        int, Meta(ge=0), described("How long a rotated secret goes on signing beside its successor")
    ] = 86_400
    log_days: Annotated[int, Meta(ge=3), described("Days that deliveries are kept")] = 30
    tests_per_hour: Annotated[int, Meta(ge=1), described("Test events an endpoint may be sent in an hour")] = 20

    def refuse_defaults(self) -> None:
        """Raise `SettingsError` for what a deployment must not do: secrets of the source code, private receivers."""
        super().refuse_defaults()
        if self.lease_seconds <= self.request_seconds:
            raise SettingsError("WEBHOOKS_LEASE_SECONDS must be longer than WEBHOOKS_REQUEST_SECONDS")
        if self.paddock_env is not Environment.PRODUCTION:
            return
        for name in ("allow_http", "allow_private"):
            if getattr(self, name):
                raise SettingsError(f"WEBHOOKS_{name.upper()} is for development; production refuses it")
