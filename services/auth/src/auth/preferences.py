"""What somebody likes: read, changed, told to others."""

from datetime import timedelta
from uuid import UUID

import msgspec
from msgspec import UNSET
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.choices import DEFAULTS, Choices, Matrix, QuietHours, language_tag, time_zones
from auth.favourites import Favourites
from auth.models import Preferences
from auth.preference_schemas import PreferencesInput
from common import clock, outbox
from common.contracts.auth import UserPreferencesChanged
from common.errors import FieldError, InvalidError

_COLUMNS = (
    *("theme", "language", "timezone", "profile_visibility", "show_email_to_league_members"),
    *("auto_pick_enabled", "auto_pick_strategy", "favorite_team", "favorite_driver"),
)
_NEWS = Matrix.__struct_fields__


def choices_of(row: Preferences | None) -> Choices:
    """Return what a row says; no row is the defaults."""
    if row is None:
        return DEFAULTS
    stored = row.notifications
    values = {name: getattr(row, name) for name in _COLUMNS}
    values |= {f"notify_{kind}": stored["notify"][kind] for kind in _NEWS}
    values |= {"notifications": stored["channels"], "quiet_hours": stored["quiet_hours"]}
    return msgspec.convert(values, Choices)


async def read(session: AsyncSession, user_id: UUID) -> Choices:
    """Return a user's choices."""
    return choices_of(await session.get(Preferences, user_id))


async def change(session: AsyncSession, user_id: UUID, wanted: PreferencesInput, favourites: Favourites) -> Choices:
    """Change what the input names, and tell others when something did.

    Raises:
        InvalidError: a value that means nothing, or a favourite that does not race.
        UnavailableError: whether a new favourite races cannot be known now.
    """
    doubts = await favourites.doubts(team=wanted.favorite_team, driver=wanted.favorite_driver)
    row = await _locked(session, user_id)
    before = choices_of(row)
    after = merged(before, wanted)
    for field, doubt in doubts.items():
        if getattr(after, field) != getattr(before, field):
            raise doubt
    if after == before:
        return before
    _store(row, after)
    await _publish(session, row, after)
    return after


def merged(before: Choices, wanted: PreferencesInput) -> Choices:
    """Return the choices with what the input names in place; raise `InvalidError` for what means nothing."""
    values = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET}
    faults = []
    if "language" in values:
        values["language"] = language_tag(values["language"])
        if values["language"] is None:
            faults.append(FieldError(field="language", message="is not a language tag such as de or pt-BR"))
    if "timezone" in values and values["timezone"] not in time_zones():
        faults.append(FieldError(field="timezone", message="is not a zone of the IANA database"))
    if "notifications" in values:
        values["notifications"] = _merged_matrix(before.notifications, values["notifications"])
    if quiet := values.get("quiet_hours"):
        values["quiet_hours"] = QuietHours(begin=quiet.begin, end=quiet.end)
        if quiet.begin == quiet.end:
            faults.append(FieldError(field="quiet_hours", message="must end at another time than they begin"))
    if faults:
        raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=faults)
    return msgspec.structs.replace(before, **values)


def _merged_matrix(before: Matrix, wanted: msgspec.Struct) -> Matrix:
    kinds = {}
    for kind, channels in msgspec.structs.asdict(wanted).items():
        if channels is not UNSET:
            named = {name: on for name, on in msgspec.structs.asdict(channels).items() if on is not UNSET}
            kinds[kind] = msgspec.structs.replace(getattr(before, kind), **named)
    return msgspec.structs.replace(before, **kinds)


async def _locked(session: AsyncSession, user_id: UUID) -> Preferences:
    """Return the row, which nobody else changes meanwhile; the first change makes it."""
    fresh = _columns(DEFAULTS) | {"user_id": user_id, "updated_at": clock.now()}
    await session.execute(insert(Preferences).values(fresh).on_conflict_do_nothing())
    return await session.get_one(Preferences, user_id, with_for_update=True, populate_existing=True)


def _store(row: Preferences, choices: Choices) -> None:
    for name, value in _columns(choices).items():
        setattr(row, name, value)
    row.updated_at = max(clock.now(), row.updated_at + timedelta(microseconds=1))


def _columns(choices: Choices) -> dict[str, object]:
    plain = msgspec.to_builtins(choices)
    stored = {
        "notify": {kind: plain[f"notify_{kind}"] for kind in _NEWS},
        "channels": plain["notifications"],
        "quiet_hours": plain["quiet_hours"],
    }
    return {name: plain[name] for name in _COLUMNS} | {"notifications": stored}


async def _publish(session: AsyncSession, row: Preferences, choices: Choices) -> None:
    quiet = choices.quiet_hours
    event = UserPreferencesChanged(
        user_id=row.user_id,
        language=choices.language,
        timezone=choices.timezone,
        profile_visibility=choices.profile_visibility,
        show_email_to_league_members=choices.show_email_to_league_members,
        auto_pick_enabled=choices.auto_pick_enabled,
        auto_pick_strategy=choices.auto_pick_strategy,
        notifications=choices.routes(),
        quiet_from=quiet.begin if quiet else None,
        quiet_until=quiet.end if quiet else None,
        changed_at=row.updated_at,
    )
    await outbox.publish(session, event)
