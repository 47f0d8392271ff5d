"""Tokens that must not be believed, made from one that must."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auth.keys import Signer
from common import clock
from common.security import ALGORITHM, TYPE
from common.tokens import new_token

Json = dict[str, Any]


class Mint(msgspec.Struct, frozen=True, kw_only=True):
    """What bad tokens are made of."""

    good: str
    elsewhere: str
    """A good one for the other kind of people: an admin's for users' routes, a user's for those of admins."""
    audience_elsewhere: str
    refresh: str
    signer: Signer

    @property
    def header(self) -> Json:
        """The good token's."""
        return jwt.get_unverified_header(self.good)

    @property
    def claims(self) -> Json:
        """The good token's."""
        return dict(jwt.decode(self.good, options={"verify_signature": False}))

    def signed(self, header: Json | None = None, **claims: Any) -> str:
        """Sign with the real key what `auth` never would; ``None`` leaves a claim out."""
        changed = {name: value for name, value in (self.claims | claims).items() if value is not None}
        return self.raw(written(self.header | (header or {})), written(changed))

    def raw(self, header: bytes, payload: bytes) -> str:
        """Sign bytes with the real key."""
        start = f"{segment(header)}.{segment(payload)}"
        return f"{start}.{segment(self.signer.private_key.sign(start.encode()))}"


def segment(raw: bytes) -> str:
    """Write base64url as tokens have it."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def written(value: Json) -> bytes:
    """Write JSON as tokens have it."""
    return json.dumps(value, separators=(",", ":")).encode()


def _hs256(mint: Mint, secret: bytes) -> str:
    start = f"{segment(written(mint.header | {'alg': 'HS256'}))}.{segment(written(mint.claims))}"
    return f"{start}.{segment(hmac.new(secret, start.encode(), hashlib.sha256).digest())}"


def _encrypted(mint: Mint) -> str:
    """The claims as a JWE (RFC 7516) under the public key, which everybody has."""
    head = segment(written({"alg": "dir", "enc": "A256GCM", "kid": mint.signer.key_id, "typ": TYPE}))
    nonce = bytes(12)
    sealed = AESGCM(_public(mint)).encrypt(nonce, written(mint.claims), head.encode())
    return f"{head}..{segment(nonce)}.{segment(sealed[:-16])}.{segment(sealed[-16:])}"


def _malleable(mint: Mint) -> str:
    """The same signature plus the order of the curve: valid for a verifier that does not reduce (RFC 8032, 5.1.7)."""
    order = 2**252 + 27742317777372353535851937790883648493
    start, _, signature = mint.good.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    moved = (int.from_bytes(raw[32:], "little") + order) % 2**256
    return f"{start}.{segment(raw[:32] + moved.to_bytes(32, 'little'))}"


def _loose_base64(mint: Mint) -> str:
    """The last character of a signature of 64 bytes carries four bits that mean nothing; set one."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return mint.good[:-1] + alphabet[alphabet.index(mint.good[-1]) ^ 1]


def _swapped(mint: Mint) -> str:
    head, _, signature = mint.good.split(".")
    return f"{head}.{segment(written(mint.claims | {'sub': str(uuid4())}))}.{signature}"


def _in(minutes: float) -> int:
    return int((clock.now() + timedelta(minutes=minutes)).timestamp())


def _public(mint: Mint) -> bytes:
    return mint.signer.private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _pem(mint: Mint) -> bytes:
    return mint.signer.private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _own_key(mint: Mint) -> Json:
    stranger = ed25519.Ed25519PrivateKey.generate()
    return dict(jwt.algorithms.OKPAlgorithm.to_jwk(stranger.public_key(), as_dict=True)) | {"kid": mint.signer.key_id}


def _by(mint: Mint, key: Any, algorithm: str) -> str:
    return jwt.encode(mint.claims, key, algorithm, headers={"kid": mint.signer.key_id, "typ": TYPE})


BAD: dict[str, Callable[[Mint], str]] = {
    "alg none without a signature": lambda mint: (
        f"{segment(written(mint.header | {'alg': 'none'}))}.{mint.good.split('.')[1]}."
    ),
    "alg none with the good signature": lambda mint: (
        f"{segment(written(mint.header | {'alg': 'none'}))}.{'.'.join(mint.good.split('.')[1:])}"
    ),
    "alg NONE in capitals": lambda mint: (
        f"{segment(written(mint.header | {'alg': 'nOnE'}))}.{mint.good.split('.')[1]}."
    ),
    "HS256 with the raw public key": lambda mint: _hs256(mint, _public(mint)),
    "HS256 with the public key as PEM": lambda mint: _hs256(mint, _pem(mint)),
    "HS256 with the key id": lambda mint: _hs256(mint, mint.signer.key_id.encode()),
    "HS256 with nothing": lambda mint: _hs256(mint, b""),
    "another Ed25519 key": lambda mint: _by(mint, ed25519.Ed25519PrivateKey.generate(), ALGORITHM),
    "ES256": lambda mint: _by(mint, ec.generate_private_key(ec.SECP256R1()), "ES256"),
    "ES384": lambda mint: _by(mint, ec.generate_private_key(ec.SECP384R1()), "ES384"),
    "RS256": lambda mint: _by(mint, rsa.generate_private_key(65537, 2048), "RS256"),
    "no kid": lambda mint: mint.raw(written({"alg": ALGORITHM, "typ": TYPE}), written(mint.claims)),
    "unknown kid": lambda mint: mint.signed({"kid": uuid4().hex}),
    "kid as a path": lambda mint: mint.signed({"kid": "../../../../dev/null"}),
    "kid as SQL": lambda mint: mint.signed({"kid": "x' UNION SELECT 'key' --"}),
    "kid as a URL": lambda mint: mint.signed({"kid": "http://127.0.0.1:1/jwks.json"}),
    "kid as a number": lambda mint: mint.signed({"kid": 7}),
    "kid as a list": lambda mint: mint.signed({"kid": [mint.signer.key_id]}),
    "jku": lambda mint: mint.signed({"jku": "http://127.0.0.1:1/jwks.json"}),
    "x5u": lambda mint: mint.signed({"x5u": "http://127.0.0.1:1/chain.pem"}),
    "x5c": lambda mint: mint.signed({"x5c": ["MIIB"]}),
    "a key of its own": lambda mint: mint.signed({"jwk": _own_key(mint)}),
    "crit": lambda mint: mint.signed({"crit": ["exp"]}),
    "crit of what nobody knows": lambda mint: mint.signed({"crit": ["b64"], "b64": False}),
    "expired": lambda mint: mint.signed(iat=_in(-20), exp=_in(-1)),
    "expired beyond any leeway": lambda mint: mint.signed(iat=_in(-20), exp=_in(-0.55)),
    "no exp": lambda mint: mint.signed(exp=None),
    "exp as text": lambda mint: mint.signed(exp=str(_in(10))),
    "exp without end": lambda mint: mint.signed(exp=2**53),
    "exp infinite": lambda mint: mint.raw(
        written(mint.header), written(mint.claims).replace(str(mint.claims["exp"]).encode(), b"Infinity")
    ),
    "not yet": lambda mint: mint.signed(nbf=_in(5)),
    "from the future": lambda mint: mint.signed(iat=_in(5), exp=_in(15)),
    "no iat": lambda mint: mint.signed(iat=None),
    "wrong issuer": lambda mint: mint.signed(iss="https://elsewhere.example"),
    "no issuer": lambda mint: mint.signed(iss=None),
    "wrong audience": lambda mint: mint.signed(aud="elsewhere"),
    "no audience": lambda mint: mint.signed(aud=None),
    "several audiences": lambda mint: mint.signed(aud=["paddock-api", "paddock-admin"]),
    "the other audience": lambda mint: mint.signed(aud=mint.audience_elsewhere),
    "a token for the other audience": lambda mint: mint.elsewhere,
    "no subject": lambda mint: mint.signed(sub=None),
    "subject root": lambda mint: mint.signed(sub="root"),
    "subject as SQL": lambda mint: mint.signed(sub="' OR true --"),
    "no session": lambda mint: mint.signed(sid=None),
    "no token id": lambda mint: mint.signed(jti=None),
    "typ JWT": lambda mint: mint.signed({"typ": "JWT"}),
    "typ absent": lambda mint: mint.raw(written({"alg": ALGORITHM, "kid": mint.signer.key_id}), written(mint.claims)),
    "typ of a refresh token": lambda mint: mint.signed({"typ": "rt+jwt"}),
    "a refresh token": lambda mint: mint.refresh,
    "a personal access token nobody has": lambda _: new_token(),
    "a personal access token with a typing error": lambda _: "pdk_" + "a" * 36,
    "a link's token": lambda _: "pdl_" + "a" * 64,
    "another person's claims": _swapped,
    "a bit of the signature": lambda mint: mint.good[:-6] + ("A" if mint.good[-6] != "A" else "B") + mint.good[-5:],
    "half a signature": lambda mint: mint.good[:-43],
    "no signature": lambda mint: mint.good.rpartition(".")[0] + ".",
    "a signature plus the curve's order": _malleable,
    "base64 that is not canonical": _loose_base64,
    "base64 with padding": lambda mint: mint.good + "==",
    "base64 of the other alphabet": lambda mint: (
        mint.raw(written(mint.header), written(mint.claims | {"username": "ÿÿÿ>>>???"}))
        .replace("_", "/")
        .replace("-", "+")
    ),
    "a claim twice": lambda mint: mint.raw(
        written(mint.header), written(mint.claims)[:-1] + f',"sub":"{uuid4()}"}}'.encode()
    ),
    "an algorithm twice": lambda mint: mint.raw(written(mint.header)[:-1] + b',"alg":"none"}', written(mint.claims)),
    "9 KiB": lambda mint: mint.signed(padding="a" * 6800),
    "empty parts": lambda _: "..",
    "one part": lambda mint: mint.good.split(".")[0],
    "four parts": lambda mint: mint.good + ".",
    "encrypted": _encrypted,
    "JSON serialisation": lambda mint: segment(written({"payload": mint.good.split(".")[1], "signatures": []})),
    "claims that are a list": lambda mint: mint.raw(written(mint.header), b"[]"),
    "claims nested a thousand deep": lambda mint: mint.raw(written(mint.header), b'{"a":' * 1000 + b"1" + b"}" * 1000),
    "whitespace inside": lambda mint: mint.good.replace(".", " .", 1),
    "a tab inside": lambda mint: mint.good.replace(".", "\t.", 1),
    "in quotes": lambda mint: f'"{mint.good}"',
    "not ASCII": lambda mint: mint.good.replace(".", "\u00b7", 1).encode("latin-1").decode("latin-1"),
    "null": lambda _: "null",
    "undefined": lambda _: "undefined",
}
"""What comes as ``Bearer``, by name."""


def oversize(mint: Mint) -> str:
    """64 KiB, well signed."""
    return mint.signed(padding="a" * 48 * 1024)


HEADERS: dict[str, Callable[[Mint], list[tuple[bytes, bytes]]]] = {
    "no scheme": lambda mint: [(b"authorization", mint.good.encode())],
    "Basic": lambda mint: [(b"authorization", b"Basic " + base64.b64encode(f"user:{mint.good}".encode()))],
    "Basic with the token": lambda mint: [(b"authorization", b"Basic " + mint.good.encode())],
    "Token": lambda mint: [(b"authorization", b"Token " + mint.good.encode())],
    "DPoP": lambda mint: [(b"authorization", b"DPoP " + mint.good.encode())],
    "scheme twice": lambda mint: [(b"authorization", b"Bearer Bearer " + mint.good.encode())],
    "a tab after the scheme": lambda mint: [(b"authorization", b"Bearer\t" + mint.good.encode())],
    "nothing after the scheme": lambda _: [(b"authorization", b"Bearer")],
    "empty": lambda _: [(b"authorization", b"")],
    "twice, good and good": lambda mint: [(b"authorization", b"Bearer " + mint.good.encode())] * 2,
    "twice, good and bad": lambda mint: [
        (b"authorization", b"Bearer " + mint.good.encode()),
        (b"authorization", b"Bearer x"),
    ],
    "twice, bad and good": lambda mint: [
        (b"authorization", b"Bearer x"),
        (b"authorization", b"Bearer " + mint.good.encode()),
    ],
    "two in one": lambda mint: [(b"authorization", b"Bearer " + mint.good.encode() + b", Bearer x")],
    "in another header": lambda mint: [(b"x-authorization", b"Bearer " + mint.good.encode())],
    "in a cookie": lambda mint: [(b"cookie", b"access_token=" + mint.good.encode())],
    "of a proxy": lambda mint: [(b"proxy-authorization", b"Bearer " + mint.good.encode())],
    "claimed identity": lambda mint: [(b"x-user-id", mint.claims["sub"].encode()), (b"x_user_id", b"1")],
}
"""What comes in place of a good ``Authorization: Bearer``."""
