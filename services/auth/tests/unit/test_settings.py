import pytest

from auth.__main__ import main
from auth.settings import AuthSettings
from common.settings import SettingsError

SECRETS = ("AUTH_PASSWORD_PEPPER", "AUTH_REFRESH_SECRET", "AUTH_KEY_ENCRYPTION_SECRET", "AUTH_TOKEN_SECRET")


def production(**changes: str) -> dict[str, str]:
    environment = {"PADDOCK_ENV": "production", "DATABASE_URL": "postgresql://auth:own@db/paddock"}
    environment |= {"AUTH_OBJECT_STORE_URL": "file:///state/avatars"}
    return environment | {name: f"{name} {'x' * 32}" for name in SECRETS} | changes


def test_the_environment_of_production_is_read() -> None:
    settings = AuthSettings.load(production(AUTH_ACCESS_TOKEN_SECONDS="600"))
    assert (settings.access_token_seconds, settings.bcrypt_cost) == (600, 12)


@pytest.mark.parametrize("name", SECRETS)
def test_production_refuses_a_default_secret(name: str) -> None:
    environment = production()
    del environment[name]
    with pytest.raises(SettingsError, match=name):
        AuthSettings.load(environment)


@pytest.mark.parametrize("name", SECRETS)
def test_a_short_secret_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        AuthSettings.load(production(**{name: "x" * 31}))


def test_production_refuses_a_cheap_bcrypt() -> None:
    with pytest.raises(SettingsError, match="AUTH_BCRYPT_COST"):
        AuthSettings.load(production(AUTH_BCRYPT_COST="11"))


def test_production_refuses_to_keep_pictures_in_memory() -> None:
    environment = production()
    del environment["AUTH_OBJECT_STORE_URL"]
    with pytest.raises(SettingsError, match="AUTH_OBJECT_STORE_URL"):
        AuthSettings.load(environment)


def test_production_needs_no_key_of_an_object_store_that_asks_for_none() -> None:
    assert AuthSettings.load(production()).s3_secret_access_key is None


@pytest.mark.parametrize("url", ["/state/avatars", "file://", "s3:///avatars", "https://example.com/", "gs://bucket/x"])
def test_pictures_are_kept_in_a_folder_or_a_bucket(url: str) -> None:
    with pytest.raises(SettingsError, match="AUTH_OBJECT_STORE_URL"):
        AuthSettings.load(production(AUTH_OBJECT_STORE_URL=url))


def test_development_needs_no_settings() -> None:
    assert AuthSettings.load({}).access_token_seconds == 900


def test_a_start_with_an_unusable_setting_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_BCRYPT_COST", "cheap")
    with pytest.raises(SystemExit) as stopped:
        main()
    assert str(stopped.value.code).startswith("AUTH_BCRYPT_COST is not usable")
