"""What production refuses at start."""

import pytest

from common.settings import SettingsError
from webhooks.settings import WebhooksSettings

PRODUCTION = {
    "PADDOCK_ENV": "production",
    "DATABASE_URL": "postgresql://paddock_webhooks:own@db/paddock",
    "WEBHOOKS_ENCRYPTION_SECRET": "s" * 40,
}


def test_production_starts_with_a_secret_of_its_own() -> None:
    settings = WebhooksSettings.load(PRODUCTION)
    assert (settings.allow_http, settings.allow_private, settings.ports) == (False, False, "443,8443")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WEBHOOKS_ALLOW_PRIVATE", "true"),
        ("WEBHOOKS_ALLOW_HTTP", "true"),
        ("WEBHOOKS_ENCRYPTION_SECRET", ""),
        ("WEBHOOKS_ENCRYPTION_SECRET", "short"),
        ("WEBHOOKS_PORTS", "443;80"),
        ("WEBHOOKS_LEASE_SECONDS", "10"),
    ],
)
def test_production_refuses_what_is_for_development(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        WebhooksSettings.load(PRODUCTION | {variable: value})


def test_a_playground_may_send_to_itself() -> None:
    assert WebhooksSettings.load({"WEBHOOKS_ALLOW_PRIVATE": "true"}).allow_private
