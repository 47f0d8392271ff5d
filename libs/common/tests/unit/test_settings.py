"""Settings fail at start, name the variable, and refuse a default secret in production."""

from pathlib import Path
from typing import Annotated, ClassVar

import pytest

from common.settings import SECRET, Environment, Settings, SettingsError, described


class PitSettings(Settings, frozen=True, kw_only=True):
    prefix: ClassVar[str] = "PIT_"

    stop_seconds: Annotated[float, described("How long a stop takes")] = 2.5
    wheel_key: Annotated[str, described("Opens the wheel guns", **SECRET)] = "default"


OWN_SECRETS = {"PADDOCK_ENV": "production", "DATABASE_URL": "postgresql://a:b@c/d", "PIT_WHEEL_KEY": "own"}


def test_a_field_of_the_service_carries_its_prefix() -> None:
    assert PitSettings.load({"PIT_STOP_SECONDS": "2.05"}).stop_seconds == 2.05


def test_a_malformed_value_names_its_variable() -> None:
    with pytest.raises(SettingsError, match="PIT_STOP_SECONDS"):
        PitSettings.load({"PIT_STOP_SECONDS": "quick"})


def test_production_refuses_a_default_secret() -> None:
    with pytest.raises(SettingsError, match="PIT_WHEEL_KEY has its default value"):
        PitSettings.load({**OWN_SECRETS, "PIT_WHEEL_KEY": "default"})


def test_production_accepts_own_secrets() -> None:
    assert PitSettings.load(OWN_SECRETS).paddock_env is Environment.PRODUCTION


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file\n")
    assert PitSettings.load({"PIT_WHEEL_KEY_FILE": str(tmp_path / "key")}).wheel_key == "from a file"


def test_a_missing_secret_file_is_named() -> None:
    with pytest.raises(SettingsError, match="PIT_WHEEL_KEY_FILE cannot be read"):
        PitSettings.load({"PIT_WHEEL_KEY_FILE": "/nowhere/key"})
