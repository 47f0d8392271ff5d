"""What every rule of `ingest` shares: the error for facts that no rule knows, and the hash of a content."""

import hashlib
from typing import Any

import msgspec


class UnexpectedError(Exception):
    """The upstream says something readable that no rule knows, or that cannot be; nothing of it is stored."""


def content_hash(value: Any) -> str:  # noqa: ANN401 - any struct, or a list of them
    """Hash a content: SHA-256, in hex, of its canonical JSON.

    Fields without a value are left out, so that a struct may gain an optional field without every hash changing.
    """
    return hashlib.sha256(msgspec.json.encode(_pruned(msgspec.to_builtins(value)), order="sorted")).hexdigest()


def _pruned(value: Any) -> Any:  # noqa: ANN401 - builtins of any depth
    if isinstance(value, dict):
        return {key: _pruned(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    return value
