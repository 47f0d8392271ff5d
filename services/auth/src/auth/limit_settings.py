"""What `auth` is told about guessing and flooding: the lock, and how often what may be asked for."""

from datetime import timedelta
from typing import Annotated, ClassVar

from msgspec import Meta

from common.settings import Settings, described

PATTERN = r"^(0|[1-9][0-9]{0,5}/[1-9][0-9]{0,5})$(?!\n)"
"""The lookahead is there because ``$`` also matches before a newline at the end."""
Rate = Annotated[str, Meta(pattern=PATTERN)]
"""So many at once, and as many again in so many seconds: ``20/60``; ``0`` is no limit."""


class LimitSettings(Settings, frozen=True, kw_only=True):
    """Settings that keep strangers from guessing. What a limit is per is the last word of its name."""

    prefix: ClassVar[str] = "AUTH_"

    lock_failures: Annotated[
        int, Meta(ge=1, le=100), described("Wrong passwords in a row that lock an account for whoever sends them")
    ] = 5
    lock_minutes: Annotated[int, Meta(ge=1, le=1440), described("How long that lasts")] = 30
    hide_accounts: Annotated[
        bool,
        described("Tell nobody which addresses have an account; a login then needs a proved address"),
    ] = False
    password_composition: Annotated[
        bool, described("Whether a new password needs an upper and a lower case letter and a digit")
    ] = True

    limit_login_address: Annotated[Rate, described("Logins of one address: how many per how many seconds; 0: any")] = (
        "10/60"
    )
    limit_login_account: Annotated[Rate, described("Logins to one account")] = "20/60"
    limit_register_address: Annotated[Rate, described("Registrations from one address")] = "20/3600"
    limit_refresh_address: Annotated[Rate, described("Refreshes from one address")] = "300/60"
    limit_refresh_account: Annotated[Rate, described("Refreshes of one session")] = "120/60"
    limit_confirm_account: Annotated[Rate, described("Times that somebody proves their password once more")] = "20/60"
    limit_forgot_address: Annotated[Rate, described("Requests for a new password from one address")] = "10/3600"
    limit_forgot_account: Annotated[Rate, described("The same for one account")] = "3/3600"
    limit_resend_address: Annotated[Rate, described("Requests to prove an address again, from one address")] = "10/3600"
    limit_resend_account: Annotated[Rate, described("The same for one account")] = "3/3600"
    limit_letters_recipient: Annotated[
        Rate, described("Letters to one address that strangers can cause; what is more is not sent")
    ] = "10/3600"
    limit_new_email_account: Annotated[Rate, described("Changes of the address that one account asks for")] = "3/3600"
    limit_verify_address: Annotated[Rate, described("Links from letters tried from one address")] = "30/60"
    limit_check_address: Annotated[Rate, described("Questions from one address whether a name is free")] = "20/60"
    limit_search_account: Annotated[Rate, described("Searches for people by one account")] = "60/60"

    limit_profile_account: Annotated[Rate, described("Changes that somebody makes to their account")] = "30/3600"
    limit_avatar_account: Annotated[Rate, described("Pictures that somebody sends, good or not")] = "60/3600"
    limit_export_account: Annotated[Rate, described("Copies of their data that somebody asks for")] = "3/86400"

    @property
    def lock(self) -> timedelta:
        """How long an account is closed to whoever guessed."""
        return timedelta(minutes=self.lock_minutes)
