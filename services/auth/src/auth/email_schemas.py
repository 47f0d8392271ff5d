"""What clients send and get about addresses and links."""

from typing import Annotated

from msgspec import Meta, Struct

from auth.domain import EMAIL_LENGTH, PASSWORD_LENGTH
from auth.links import TOKEN_LENGTH

Address = Annotated[str, Meta(min_length=EMAIL_LENGTH[0], max_length=EMAIL_LENGTH[1])]
Token = Annotated[
    str, Meta(min_length=1, max_length=TOKEN_LENGTH * 4, description="What the link holds behind `token=`")
]


class AddressInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address that a letter is wanted at."""

    email: Address


class TokenInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link from a letter."""

    token: Token


class NewPassword(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link from a letter, and the password from now on."""

    token: Token
    password: Annotated[str, Meta(min_length=PASSWORD_LENGTH[0], max_length=PASSWORD_LENGTH[1])]


class NewEmail(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The address from now on, once the letter there is answered."""

    email: Address
    current_password: Annotated[str, Meta(min_length=1, max_length=PASSWORD_LENGTH[1])]


class Asked(Struct, frozen=True, kw_only=True):
    """The answer to whoever asks for a letter; it never tells whether there will be one."""

    message: str


ASKED = Asked(message="If a letter is due to this address, it is on its way.")
"""The one there is."""


class Free(Struct, frozen=True, kw_only=True):
    """Whether a name can be had."""

    available: bool
