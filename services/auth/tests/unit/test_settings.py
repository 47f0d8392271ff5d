import pytest

from auth.__main__ import main
from auth.settings import AuthSettings
from common.settings import SettingsError

SECRETS = ("AUTH_PASSWORD_PEPPER", "AUTH_REFRESH_SECRET", "AUTH_KEY_ENCRYPTION_SECRET", "AUTH_TOKEN_SECRET")


def production(**changes: str) -> dict[str, str]:
    environment = {"PADDOCK_ENV": "production", "DATABASE_URL": "postgresql://auth:own@db/paddock"}
    environment |= {"AUTH_OBJECT_STORE_URL": "file:///state/avatars", "AUTH_LINK_URL": "https://play.example"}
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


def test_production_must_be_told_where_links_in_letters_lead() -> None:
    environment = production()
    del environment["AUTH_LINK_URL"]
    with pytest.raises(SettingsError, match="AUTH_LINK_URL"):
        AuthSettings.load(environment)


@pytest.mark.parametrize(
    "url", ["play.example", "ftp://play.example", "https://", "https://x/?next=", "https://x/#", "a b"]
)
def test_links_lead_to_a_page_on_the_web(url: str) -> None:
    with pytest.raises(SettingsError, match="AUTH_LINK_URL"):
        AuthSettings.load(production(AUTH_LINK_URL=url))


@pytest.mark.parametrize(
    "sender", ["nobody", "a b@x.example", "a@x.example\nBcc: b@x.example", "Paddock <a@x.example>"]
)
def test_the_sender_of_letters_is_one_address(sender: str) -> None:
    with pytest.raises(SettingsError, match="AUTH_MAIL_FROM"):
        AuthSettings.load(production(AUTH_MAIL_FROM=sender))


def test_the_password_for_the_mail_server_is_never_sent_in_the_clear() -> None:
    with pytest.raises(SettingsError, match="AUTH_SMTP_SECURITY"):
        AuthSettings.load({"AUTH_SMTP_PASSWORD": "x" * 12})
    assert AuthSettings.load({"AUTH_SMTP_PASSWORD": "x" * 12, "AUTH_SMTP_SECURITY": "tls"}).smtp_password


def test_development_needs_no_settings() -> None:
    assert AuthSettings.load({}).access_token_seconds == 900


def test_a_start_with_an_unusable_setting_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_BCRYPT_COST", "cheap")
    with pytest.raises(SystemExit) as stopped:
        main()
    assert str(stopped.value.code).startswith("AUTH_BCRYPT_COST is not usable")
