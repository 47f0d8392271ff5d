"""The one error of this package."""


class DevstackError(Exception):
    """Something that must run cannot; the message is one line and says what to do."""
