"""The keys that access tokens are signed with: made when first needed, kept in the schema, sealed at rest.

`auth.key_schedule` says which of them signs, `auth.rotation` changes them.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID, uuid4

import jwt
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from auth import queries
from auth.key_schedule import signing
from auth.models import SigningKey
from auth.settings import AuthSettings
from common import clock
from common.db import Database, is_outage
from common.errors import UnavailableError
from common.log import get_logger
from common.security import ALGORITHM

log = get_logger(__name__)

RELOAD_SECONDS = 10.0
"""How long what another process does to the keys may go unnoticed; less when they are published so briefly."""
_NONCE_BYTES = 12


class Signer(msgspec.Struct, frozen=True, kw_only=True):
    """A key ready to sign."""

    key_id: str
    private_key: Ed25519PrivateKey


class KeySeal:
    """Seals private keys with AES-256-GCM, bound to the key's id, under a key derived from a setting."""

    def __init__(self, secret: str) -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"paddock signing key seal 1")
        self._cipher = AESGCM(derived.derive(secret.encode()))

    def close(self, key_id: UUID, private_key: Ed25519PrivateKey) -> bytes:
        """Encrypt the raw key; the nonce comes first."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, private_key.private_bytes_raw(), key_id.bytes)

    def open(self, key_id: UUID, sealed: bytes) -> Ed25519PrivateKey:
        """Decrypt a key; raise ``InvalidTag`` when the setting is another one than at the time."""
        raw = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], key_id.bytes)
        return Ed25519PrivateKey.from_private_bytes(raw)

    def opens(self, key: SigningKey) -> bool:
        """Tell whether the setting is the one that sealed the key."""
        try:
            self.open(key.id, key.private_key_sealed)
        except InvalidTag:
            return False
        return True


def generate(seal: KeySeal, signs_from: datetime) -> SigningKey:
    """Draw a key."""
    key_id, private_key = uuid4(), Ed25519PrivateKey.generate()
    return SigningKey(
        id=key_id,
        public_key=private_key.public_key().public_bytes_raw(),
        private_key_sealed=seal.close(key_id, private_key),
        created_at=clock.now(),
        signs_from=signs_from,
    )


class SigningKeys:
    """The keys of the schema, read again every few seconds; a `common.key_set.KeySource` for `auth` itself."""

    def __init__(self, database: Database, settings: AuthSettings) -> None:
        self._database = database
        self._seal = KeySeal(settings.key_encryption_secret)
        self._reload_seconds = min(RELOAD_SECONDS, settings.key_publish_seconds / 4)
        self._stored: tuple[SigningKey, ...] = ()
        self._public: Mapping[str, jwt.PyJWK] = {}
        self._signer: Signer | None = None
        self.changes = 0
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return the public key of that id, or nothing."""
        await self._refresh()
        return self._public.get(key_id)

    async def published(self) -> list[dict[str, str]]:
        """Return the public keys as JSON Web Keys (RFC 8037), the newest first."""
        await self._refresh()
        return [_jwk(key) for key in self._stored]

    async def signer(self) -> Signer:
        """Return the key that signs now; raise `UnavailableError` when the setting does not open it."""
        await self._refresh()
        key = signing(self._stored, clock.now())
        if self._signer is None or self._signer.key_id != key.id.hex:
            try:
                private_key = self._seal.open(key.id, key.private_key_sealed)
            except InvalidTag as error:
                log.error("AUTH_KEY_ENCRYPTION_SECRET does not open the signing key", key_id=key.id.hex)  # noqa: TRY400 - the trace says no more
                raise UnavailableError("signing_unavailable", "Tokens cannot be issued right now.") from error
            self._signer = Signer(key_id=key.id.hex, private_key=private_key)
        return self._signer

    async def _refresh(self) -> None:
        """Read the keys when that was long ago; with the database away, go on with those there are."""
        async with self._lock:
            if time.monotonic() - self._read_at < self._reload_seconds:
                return
            try:
                await self._read()
            except Exception as error:
                if not self._stored or not is_outage(error):
                    raise
            self._read_at = time.monotonic()

    async def _read(self) -> None:
        async with self._database.transaction() as session:
            stored = await queries.signing_keys(session)
            if not stored:
                await queries.lock_keys(session)
                stored = await queries.signing_keys(session)
            if not stored:
                stored = [generate(self._seal, clock.now())]
                session.add_all(stored)
        self.changes += {key.id for key in stored} != {key.id for key in self._stored}
        self._stored = tuple(stored)
        self._public = {key.id.hex: jwt.PyJWK.from_dict(_jwk(key)) for key in stored}


def _jwk(key: SigningKey) -> dict[str, str]:
    x = jwt.utils.base64url_encode(key.public_key).decode()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": key.id.hex, "alg": ALGORITHM, "use": "sig"}
