"""Passwords that everybody tries first: the list that zxcvbn ships, without asking anybody over the network."""

from functools import cache

from zxcvbn.frequency_lists import FREQUENCY_LISTS


@cache
def known() -> frozenset[str]:
    """Return the list, in lower case."""
    return frozenset(FREQUENCY_LISTS["passwords"])


def is_common(password: str) -> bool:
    """Tell whether a password is on the list, in any case."""
    return password.casefold() in known()
