"""Entity tags of things that count their versions (RFC 9110): ``If-Match`` keeps an older copy from winning."""

from common.errors import StaleError


def tag_of(version: int) -> str:
    """Return the strong tag of a version."""
    return f'"{version}"'


def require(if_match: str | None, version: int) -> None:
    """Raise `StaleError` when the header names other versions only. A weak tag matches nothing; no header, anything."""
    if if_match is None or if_match.strip() == "*":
        return
    if tag_of(version) not in {tag.strip() for tag in if_match.split(",")}:
        raise StaleError("stale_version", "It has changed since you read it; read it again.")
