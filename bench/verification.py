"""What it costs to verify an access token: one seen before, one that is new, and as many by the bare library.

    bench/verification.py [--rounds 20000] [--json]

All in one process and one run, so that the ratios mean the same on any machine. The keys are in memory; a deny list
holds ended sessions while it is measured.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common import clock
from common.denials import Denials
from common.security import ALGORITHM, TYPE, TokenVerifier
from common.settings import Settings

ISSUER, AUDIENCE = "paddock", "paddock-api"
ENDED_SESSIONS = 10_000
BOUND_MICROSECONDS = 5.0
"""For a token that was seen before."""
RUNS = 5
"""The best counts: the others were disturbed."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds of one verification, and of one by the library alone."""

    seen_microseconds: float
    new_microseconds: float
    bare_microseconds: float
    new_to_bare: float
    bare_to_seen: float


class Keys:
    """One key, as it was fetched."""

    def __init__(self) -> None:
        self.private_key = Ed25519PrivateKey.generate()
        self.key_id = uuid4().hex
        document = jwt.algorithms.OKPAlgorithm.to_jwk(self.private_key.public_key(), as_dict=True)
        self.public_key = jwt.PyJWK.from_dict({**document, "kid": self.key_id, "alg": ALGORITHM, "use": "sig"})
        self.changes = 0

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return it."""
        return self.public_key if key_id == self.key_id else None

    def token(self) -> str:
        """Sign a token as `auth` does."""
        now = clock.now()
        claims = {
            "sub": str(uuid4()),
            "username": "late_braker",
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + timedelta(minutes=15),
            "jti": uuid4().hex,
            "sid": str(uuid4()),
            "email_verified": True,
        }
        return jwt.encode(claims, self.private_key, ALGORITHM, headers={"kid": self.key_id, "typ": TYPE})


async def verified(keys: Keys, tokens: Sequence[str], warm: Sequence[str] = ()) -> float:
    """Verify each token; return the microseconds of one. What is ``warm`` was seen before."""
    denials = Denials(Settings(), "bench")
    now = clock.now().timestamp()
    for _ in range(ENDED_SESSIONS):
        denials.add(uuid4(), now)
    verifier = TokenVerifier(ISSUER, AUDIENCE, keys, denials)
    for token in warm:
        await verifier.verify(token)
    began = time.perf_counter()
    for token in tokens:
        await verifier.verify(token)
    return (time.perf_counter() - began) / len(tokens) * 1e6


def decoded(keys: Keys, tokens: Sequence[str]) -> float:
    """Decode each token with the library alone; return the microseconds of one."""
    began = time.perf_counter()
    for token in tokens:
        jwt.decode(token, keys.public_key, algorithms=[ALGORITHM], issuer=ISSUER, audience=AUDIENCE)
    return (time.perf_counter() - began) / len(tokens) * 1e6


async def measure(rounds: int) -> Figures:
    """Measure each, several times in turn."""
    keys = Keys()
    tokens = [keys.token() for _ in range(max(1, rounds // 20))]
    again = (tokens * 20)[:rounds]
    seen = new = bare = float("inf")
    for _ in range(RUNS):
        bare = min(bare, decoded(keys, tokens))
        new = min(new, await verified(keys, tokens))
        seen = min(seen, await verified(keys, again, tokens))
    return Figures(
        seen_microseconds=round(seen, 2),
        new_microseconds=round(new, 1),
        bare_microseconds=round(bare, 1),
        new_to_bare=round(new / bare, 2),
        bare_to_seen=round(bare / seen, 1),
    )


def main() -> int:
    """Measure and print; 1 when a token seen before costs too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = asyncio.run(measure(arguments.rounds))
    if arguments.json:
        print(json.dumps(msgspec.structs.asdict(figures)))
    else:
        print(f"seen before{figures.seen_microseconds:10.2f} µs, bound {BOUND_MICROSECONDS:.0f}")
        print(f"new        {figures.new_microseconds:10.1f} µs, {figures.new_to_bare} times the bare library")
        print(f"bare       {figures.bare_microseconds:10.1f} µs, {figures.bare_to_seen} times a token seen before")
    return int(figures.seen_microseconds > BOUND_MICROSECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
