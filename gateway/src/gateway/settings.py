"""What the gateway is told by its environment."""

from typing import Annotated

from msgspec import Meta

from common.settings import Settings, described

PER_MINUTE = Meta(ge=0, le=1_000_000)


class GatewaySettings(Settings, frozen=True, kw_only=True):
    """Where the services are, how much a caller may ask, and whom to believe.

    The addresses of services carry no prefix, as ``AUTH_URL`` does not: everybody who needs a service calls it so.
    """

    ingest_url: Annotated[str, described("Base URL of ingest")] = "http://127.0.0.1:8002"
    leagues_url: Annotated[str, described("Base URL of leagues")] = "http://127.0.0.1:8003"
    scoring_url: Annotated[str, described("Base URL of scoring")] = "http://127.0.0.1:8004"
    analytics_url: Annotated[str, described("Base URL of analytics")] = "http://127.0.0.1:8005"
    webhooks_url: Annotated[str, described("Base URL of webhooks")] = "http://127.0.0.1:8006"

    gateway_limit_default_per_minute: Annotated[
        int, PER_MINUTE, described("Requests a minute from one address; 0 is no limit")
    ] = 100
    gateway_limit_analytics_per_minute: Annotated[
        int, PER_MINUTE, described("Requests a minute for analytics from one address; 0 is no limit")
    ] = 60
    gateway_limit_credentials_per_minute: Annotated[
        int, PER_MINUTE, described("Logins, registrations and refreshes a minute from one address; 0 is no limit")
    ] = 10
    gateway_limit_user_per_minute: Annotated[
        int, PER_MINUTE, described("Requests a minute of one user, from all addresses; 0 is no limit")
    ] = 200
    gateway_limit_admin_per_minute: Annotated[
        int, PER_MINUTE, described("Requests a minute of one admin, from all addresses; 0 is no limit")
    ] = 50
    gateway_limit_exchange_per_minute: Annotated[
        int,
        PER_MINUTE,
        described("Personal access tokens new to the gateway a minute from one address; 0 is no limit"),
    ] = 60
    gateway_trusted_hops: Annotated[
        int, Meta(ge=0, le=10), described("Proxies of ours in front, whose X-Forwarded-For is believed")
    ] = 0

    gateway_connect_seconds: Annotated[float, Meta(gt=0, le=5), described("Time to connect to a service")] = 0.4
    gateway_upstream_seconds: Annotated[
        float, Meta(gt=0, le=300), described("Time for a whole answer of a service; then 504")
    ] = 10.0
    gateway_heartbeat_seconds: Annotated[
        float, Meta(gt=0, le=60), described("Silence after which a live stream gets a comment")
    ] = 15.0
    gateway_cors_origins: Annotated[
        str, described("Origins of browser clients, separated by commas; empty allows none")
    ] = ""
    gateway_public_url: Annotated[str, described("Where clients reach the gateway, as the document says")] = "/"

    @property
    def services(self) -> dict[str, str]:
        """Base URL of each service, by its name."""
        return {
            "auth": self.auth_url,
            "ingest": self.ingest_url,
            "leagues": self.leagues_url,
            "scoring": self.scoring_url,
            "analytics": self.analytics_url,
            "webhooks": self.webhooks_url,
        }

    @property
    def cors_origins(self) -> frozenset[str]:
        """The allow-list."""
        return frozenset(
            origin.strip().rstrip("/") for origin in self.gateway_cors_origins.split(",") if origin.strip()
        )

    def refuse_defaults(self) -> None:
        """Nothing is refused: the one default secret is that of a database, and the gateway has none."""
