"""The form of a personal access token: ``pdk_``, 30 base62 digits of chance, and 6 that are their CRC-32.

The checksum lets the gateway, `auth` and scanners for leaked secrets tell a token from a typing error without asking
anybody (https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/).
"""

import re
import secrets
import string
import zlib

PREFIX = "pdk_"
PATTERN = re.compile(rf"{PREFIX}([0-9A-Za-z]{{30}})([0-9A-Za-z]{{6}})")
RANDOM_DIGITS = 30
"""178 bits."""
CHECK_DIGITS = 6
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def new_token() -> str:
    """Draw a token."""
    drawn = "".join(secrets.choice(_BASE62) for _ in range(RANDOM_DIGITS))
    return PREFIX + drawn + checksum(drawn)


def is_token(text: str) -> bool:
    """Tell whether a text is a token that we may have issued: its form and its checksum are right."""
    match = PATTERN.fullmatch(text)
    return bool(match and checksum(match[1]) == match[2])


def checksum(drawn: str) -> str:
    """Return the CRC-32 of the digits of chance, in base62."""
    rest, digits = zlib.crc32(drawn.encode()), ""
    for _ in range(CHECK_DIGITS):
        rest, digit = divmod(rest, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits
