"""Keys of their own for each purpose, derived from one secret setting (HKDF, RFC 5869)."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derived(secret: str, purpose: bytes) -> bytes:
    """Return 32 bytes that nobody can tell from another purpose's."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"paddock " + purpose).derive(secret.encode())
