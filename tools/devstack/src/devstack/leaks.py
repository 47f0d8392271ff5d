"""Finds secrets and e-mail addresses where nobody may write them: in log lines and in the history of the repository.

The shapes are written down apart from those that `common.log` masks, so that a mistake there is found here.
"""

import re
from collections.abc import Collection, Iterator, Mapping

import msgspec

CONTEXT = 160
"""Characters of a line that are shown on either side of what was found in it."""

SECRETS: Mapping[str, re.Pattern[str]] = {
    "a personal access token": re.compile(r"pdk_[0-9A-Za-z]{36}"),
    "a token of ours": re.compile(r"pd[lrd]_[\w-]{16,}"),
    "a JSON Web Token": re.compile(r"eyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{4,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:\\n|\s)*[A-Za-z0-9+/]{16,}"),
    "a bcrypt hash": re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}"),
    "a signing secret of a webhook": re.compile(r"whsec_[A-Za-z0-9+/=]{24,}"),
    "a NATS seed": re.compile(r"S[UAO]A[A-Z2-7]{55}"),
    "a password in a URL": re.compile(r"://[^\s/:@\"'`<>()\[\]{}]{0,64}:[^\s/@\"'`<>()\[\]{}]{1,128}@[^\s\"']{1,64}"),
    "a token of a hosting service": re.compile(
        r"AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[abp]-[0-9A-Za-z-]{10,64}|pypi-AgE[A-Za-z0-9_-]{50,}"
    ),
}
IN_LOGS: Mapping[str, re.Pattern[str]] = {
    **SECRETS,
    "a credential": re.compile(r"[Bb]earer\s+[A-Za-z0-9._~+/=-]{12,}|[Bb]asic\s+[A-Za-z0-9+/]{11,}={0,2}"),
    "an e-mail address": re.compile(
        r"@(?<=[\w.+%-]@)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}\.[A-Za-z]{2,24}\b"
    ),
    "a secret of development": re.compile(r"paddock-development-[a-z-]+"),
}
"""An e-mail address is found by its second half, which takes a hundredth of the time."""
_WORD = re.compile(r"[^/?&|\s\"'\\=:,;()\[\]{}<>]{8,}")


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a line that must not be there."""

    kind: str
    number: int
    """Of the line, from 1."""
    line: str
    """The line about the place, without what was found in it."""


def leaks(text: str, shapes: Mapping[str, re.Pattern[str]], known: Collection[str] = ()) -> Iterator[Leak]:
    """Yield what a text gives away: whatever has a shape, and the secrets that are known to the letter."""
    for kind, shape in shapes.items():
        for match in shape.finditer(text):
            yield _leak(text, kind, match.start(), match.end())
    if known:
        secrets = frozenset(known)
        for match in _WORD.finditer(text):
            if match[0] in secrets or match[0].rstrip(".!?/") in secrets:
                yield _leak(text, "a secret that was sent or received", match.start(), match.end())
        for secret in secrets:
            if not _WORD.fullmatch(secret):
                for match in re.finditer(re.escape(secret), text):
                    yield _leak(text, "a secret that was sent or received", match.start(), match.end())


def _leak(text: str, kind: str, start: int, end: int) -> Leak:
    begin = text.rfind("\n", 0, start) + 1
    stop = text.find("\n", end)
    before = text[max(begin, start - CONTEXT) : start]
    after = text[end : min(stop if stop >= 0 else len(text), end + CONTEXT)]
    line = f"{_blank(before)}[{kind}]{_blank(after)}"
    return Leak(kind=kind, number=text.count("\n", 0, begin) + 1, line=line)


def _blank(text: str) -> str:
    """Take out of the rest of a line whatever else should not be told; the local part of an address is cut off."""
    for shape in IN_LOGS.values():
        text = shape.sub("[…]", text)
    return re.sub(r"[\w.+%-]+$", "…", text)
