"""What a program may be allowed to do for somebody: the closed list of scopes, each in words.

A scope is ``<area>:read`` or ``<area>:write``, as `common.security` says. What anybody may read needs none; what only
the account's owner may do with a login of their own (passwords, addresses, sessions, tokens, deletion, export) is
covered by none.
"""

from collections.abc import Iterable, Mapping

SCOPES: Mapping[str, str] = {
    "account:read": "See your account, your preferences and other people's profiles",
    "account:write": "Change your profile, your preferences and your picture",
    "leagues:read": "See your leagues, teams and line-ups",
    "leagues:write": "Create and join leagues, create teams and submit line-ups",
    "scoring:read": "See the leaderboards of your leagues",
    "stream:read": "Listen to the live stream",
    "webhooks:read": "See your webhook endpoints and their deliveries",
    "webhooks:write": "Create, change, test and delete your webhook endpoints",
}


def unknown(scopes: Iterable[str]) -> list[str]:
    """Name those that are no scopes."""
    return sorted(set(scopes) - set(SCOPES))
