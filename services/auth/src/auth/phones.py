"""Telephone numbers in the one form of E.164: ``+``, country, number, and nothing else."""

import phonenumbers

INPUT_LENGTH = 40


def normalised(written: str) -> str | None:
    """Return the number as E.164 has it, or nothing when it is none.

    It must begin with ``+`` and the country, for nobody tells us which country a local number would be of. Whether the
    number is assigned is not asked: ranges open faster than a list of them can be renewed.
    """
    try:
        number = phonenumbers.parse(written, None)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
