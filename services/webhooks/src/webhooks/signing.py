"""Signatures of Standard Webhooks (https://www.standardwebhooks.com), and the secrets they are made with.

A secret is shown to its owner once and kept sealed, bound to its endpoint, under a key derived from a setting.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PREFIX = "whsec_"
SECRET_BYTES = 32
_NONCE_BYTES = 12


def new_key() -> bytes:
    """Draw the key of an endpoint."""
    return os.urandom(SECRET_BYTES)


def shown(key: bytes) -> str:
    """Write a key as its owner gets it, and as the libraries of Standard Webhooks take it."""
    return PREFIX + base64.b64encode(key).decode()


def headers(keys: Iterable[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Sign a body with each key; ``timestamp`` is in seconds since 1970."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


class Seal:
    """Seals keys with AES-256-GCM, bound to the endpoint's id."""

    def __init__(self, secret: str) -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"paddock webhook secret seal 1")
        self._cipher = AESGCM(derived.derive(secret.encode()))

    def close(self, endpoint_id: UUID, key: bytes) -> bytes:
        """Encrypt; the nonce comes first."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key, endpoint_id.bytes)

    def open(self, endpoint_id: UUID, sealed: bytes) -> bytes:
        """Decrypt; raise ``InvalidTag`` when the setting is another one than at the time."""
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], endpoint_id.bytes)
