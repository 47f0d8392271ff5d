"""NATS keys and the claims that they sign, as `nats-io/jwt` version 2 and `nats-io/nkeys` define them.

An operator signs accounts, an account signs users. A server trusts the operator alone, so a new user needs no change
of any server's configuration.
"""

import base64
import hashlib
import json
import os
from typing import Any

import nkeys
from nacl.exceptions import CryptoError

from common import clock

OPERATOR = nkeys.PREFIX_BYTE_OPERATOR
ACCOUNT = nkeys.PREFIX_BYTE_ACCOUNT
USER = nkeys.PREFIX_BYTE_USER

Claims = dict[str, Any]

_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_WHEN = ("iat", "jti")
_SEED_BYTES = 32
_CREDENTIALS = """\
-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

************************* IMPORTANT *************************
NKEY Seed printed below can be used to sign and prove identity.
NKEYs are sensitive and should be treated as secrets.

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------

*************************************************************
"""


class KeyBrokenError(Exception):
    """A key or a token in a file is not one; the message says which."""


class Key:
    """A key pair of an operator, an account or a user; `seed` is the secret."""

    def __init__(self, seed: str) -> None:
        try:
            self._pair = nkeys.from_seed(bytearray(seed.encode()))
            self.public = bytes(self._pair.public_key).decode().rstrip("=")
        except (nkeys.NkeysError, CryptoError, ValueError) as error:
            raise KeyBrokenError("not the seed of an NKey") from error
        self.seed = seed

    @classmethod
    def new(cls, kind: int) -> "Key":
        """Draw a key; ``kind`` is `OPERATOR`, `ACCOUNT` or `USER`."""
        return cls(nkeys.encode_seed(os.urandom(_SEED_BYTES), kind).decode())

    def sign(self, claims: Claims) -> str:
        """Sign claims, with the issuer, the moment and the id filled in."""
        body = {**claims, "iss": self.public, "iat": int(clock.now().timestamp())}
        digest = hashlib.sha256(_json(body)).digest()
        body["jti"] = base64.b32encode(digest).decode().rstrip("=")
        signed = f"{_encoded(_json(_HEADER))}.{_encoded(_json(body))}"
        return f"{signed}.{_encoded(self._pair.sign(signed.encode()))}"


def claims_of(token: str) -> Claims:
    """Read what a token says, without verifying it; raise `KeyBrokenError` when it is none."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError) as error:
        raise KeyBrokenError("not a signed token") from error
    if not isinstance(claims, dict):
        raise KeyBrokenError("not a signed token")
    return claims


def says(token: str, claims: Claims, signer: Key) -> bool:
    """Tell whether a token of this signer says just that, whenever it was signed."""
    known = {name: value for name, value in claims_of(token).items() if name not in _WHEN}
    wanted: Claims = json.loads(_json({**claims, "iss": signer.public}))
    return known == wanted


def credentials(token: str, key: Key) -> str:
    """Render the file that every NATS client takes."""
    return _CREDENTIALS.format(jwt=token, seed=key.seed)


def from_credentials(text: str) -> tuple[str, Key]:
    """Read a credentials file: the token and the key; raise `KeyBrokenError` when it is none."""
    lines = [line for line in text.splitlines() if line]
    try:
        token = lines[lines.index("-----BEGIN NATS USER JWT-----") + 1]
        seed = lines[lines.index("-----BEGIN USER NKEY SEED-----") + 1]
    except (ValueError, IndexError) as error:
        raise KeyBrokenError("not a NATS credentials file") from error
    return token, Key(seed)


def _json(value: Any) -> bytes:  # noqa: ANN401 - any JSON
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
