"""The folder of keys from which NATS trusts its users: who may sign, what the server must be told, whose file is whose.

| in the folder | |
|---|---|
| `keys/` | seeds of the operator and of the two accounts; whoever has them is NATS |
| `server/nats-auth.conf` | what the server's configuration includes; nothing in it is secret |
| `creds/` | a credentials file for each deployable, for the operator (`paddock`), to tell the server (`system`) |
| `subscribers/` | credentials files for people outside |

Making it twice changes nothing. Signing needs no server; only a revocation must be told to it.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paddock.nats_keys import ACCOUNT, OPERATOR, USER, Claims, Key, KeyBrokenError, claims_of, credentials, says
from paddock.nats_keys import from_credentials as read_credentials

ACCOUNT_NAME = "PADDOCK"
OPERATOR_USER = "paddock"
SYSTEM_USER = "system"
CLAIMS_UPDATE = "$SYS.REQ.CLAIMS.UPDATE"
LOCK_SECONDS = 10.0
POLL_SECONDS = 0.05
CONTROL_LINE_BYTES = 65536
SECRET_MODE, SECRET_FOLDER_MODE = 0o600, 0o700

_UNLIMITED = {"subs": -1, "data": -1, "payload": -1}
_NOTHING = {"pub": {"deny": [">"]}, "sub": {"deny": [">"]}}
"""What a user may whose token forgets to say it."""

_ACCOUNT_LIMITS = {
    **_UNLIMITED,
    "imports": -1,
    "exports": -1,
    "wildcards": True,
    "disallow_bearer": True,
    "conn": -1,
    "leaf": -1,
}
_JETSTREAM = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}

_CONF = """\
# Written by `paddock nats init`, for nats.conf to include. Nothing in it is secret: the server only verifies.
operator: {operator}
system_account: {system}
# a client's first line holds its token, and that holds every subject that a service may use
max_control_line: {line}
resolver: {{
  type: full
  dir: {folder}
  allow_delete: false
  interval: "2m"
  limit: 1000
}}
resolver_preload: {{
  {account}: {account_token}
  {system}: {system_token}
}}
"""


@dataclass(frozen=True)
class Permissions:
    """Subjects, with NATS wildcards. What is not named is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


class FolderError(Exception):
    """The folder is not what is needed; the message says what to do."""


class Authority:
    """A folder of keys; every method leaves it whole, whoever else uses it meanwhile."""

    def __init__(self, folder: Path, *, apart: bool = False) -> None:
        """Name the folder; nothing is made. ``apart`` gives each file in `creds/` a folder of its own to be mounted."""
        self.folder = folder
        self._apart = apart
        self.conf = folder / "server" / "nats-auth.conf"

    @classmethod
    def found(cls, folder: Path) -> "Authority":
        """Open a folder that `prepare` has made; raise `FolderError` when it has not."""
        if not (folder / "keys" / "operator.nk").exists():
            raise FolderError(f"{folder} holds no NATS keys; make them with: paddock nats init {folder}")
        return cls(folder, apart=(folder / "creds" / OPERATOR_USER).is_dir())

    def prepare(self, resolver: Path | None = None) -> list[str]:
        """Make what is missing: keys, accounts, the server's part, the operator's own users; return what was made.

        ``resolver`` is where the server keeps the accounts that it was told of; it must be able to write there.
        """
        with self._locked():
            for part in ("", "keys", "server", "creds", "subscribers"):
                (self.folder / part).mkdir(mode=SECRET_FOLDER_MODE, parents=True, exist_ok=True)
            (self.folder / "server").chmod(0o755)
            made = [f"{name}: key drawn" for name in self._draw_keys()]
            tokens = {name: self._signed(name, claims) for name, claims in self._accounts().items()}
            text = _CONF.format(
                operator=tokens["operator"],
                account=self._key("account").public,
                account_token=tokens["account"],
                system=self._key("system").public,
                system_token=tokens["system"],
                line=CONTROL_LINE_BYTES,
                folder=json.dumps(str(resolver or self.folder / "server" / "accounts")),
            )
            if _write(self.conf, text, 0o644):
                made.append("nats-auth.conf: written")
        everything = Permissions((">",), (">",))
        claims = Permissions((CLAIMS_UPDATE,), (f"_INBOX_{SYSTEM_USER}.>",))
        own = [self._issue(OPERATOR_USER, everything, "account"), self._issue(SYSTEM_USER, claims, "system")]
        return made + [line for line in own if not line.endswith("kept")]

    def issue(self, user: str, permissions: Permissions) -> str:
        """Make the user's credentials, or sign them again when the permissions are others; say in a line which."""
        return self._issue(user, permissions, "account")

    def credentials_of(self, user: str) -> Path:
        """Where the file of one of our users is."""
        return self.folder / "creds" / (f"{user}/nats.creds" if self._apart else f"{user}.creds")

    def enlist(self, name: str, permissions: Permissions) -> tuple[Path, str]:
        """Make the credentials of a subscriber; return their file and the public key.

        Raises:
            FolderError: There is such a file already.
        """
        with self._locked():
            file, key = self._subscriber(name), Key.new(USER)
            if file.exists():
                raise FolderError(f"{file} is there already; `paddock subscribers remove {name}` removes what is left")
            claims = _user_claims(name, key, permissions)
            _write(file, credentials(self._key("account").sign(claims), key), SECRET_MODE)
        return file, key.public

    def public_key_of(self, subscriber: str) -> str | None:
        """The public key of a subscriber's file; None where there is no file."""
        file = self._subscriber(subscriber)
        return read_credentials(file.read_text(encoding="utf-8"))[1].public if file.exists() else None

    def dismiss(self, name: str) -> None:
        """Remove a subscriber's file, where there still is one."""
        self._subscriber(name).unlink(missing_ok=True)

    def renew(self, user: str) -> str:
        """Forget the key of one of our users, so that `issue` draws another; return the old public key."""
        with self._locked():
            file = self.credentials_of(user)
            if not file.exists():
                raise FolderError(f"{file} does not exist")
            public = read_credentials(file.read_text(encoding="utf-8"))[1].public
            file.unlink()
        return public

    def revoke(self, public: str, moment: int) -> str:
        """Refuse what a user was signed up to a moment (Unix seconds); return the account's token, to be pushed."""
        with self._locked():
            claims = self._accounts()["account"]
            claims["nats"].setdefault("revocations", {})[public] = moment
            token = self._key("operator").sign(claims)
            file = self.folder / "keys" / "account.jwt"
            old = file.read_text(encoding="utf-8").strip()
            _write(file, token + "\n", SECRET_MODE)
            _write(self.conf, self.conf.read_text(encoding="utf-8").replace(old, token), 0o644)
        return token

    def _subscriber(self, name: str) -> Path:
        return self.folder / "subscribers" / f"{name}.creds"

    def _draw_keys(self) -> list[str]:
        drawn = []
        for name, kind in (("operator", OPERATOR), ("account", ACCOUNT), ("system", ACCOUNT)):
            file = self.folder / "keys" / f"{name}.nk"
            if not file.exists():
                _write(file, Key.new(kind).seed + "\n", SECRET_MODE)
                drawn.append(name)
        return drawn

    def _key(self, name: str) -> Key:
        try:
            return Key((self.folder / "keys" / f"{name}.nk").read_text(encoding="utf-8").strip())
        except FileNotFoundError as error:
            raise FolderError(f"{self.folder} holds no {name} key; make it with: paddock nats init") from error

    def _accounts(self) -> dict[str, Claims]:
        """What the operator says of itself and of the accounts; revocations stay for ever."""
        system, account = self._key("system").public, self._key("account").public
        nats: Claims = {"type": "account", "version": 2, "default_permissions": _NOTHING}
        file = self.folder / "keys" / "account.jwt"
        held = claims_of(file.read_text(encoding="utf-8").strip())["nats"] if file.exists() else {}
        revoked = {"revocations": held["revocations"]} if held.get("revocations") else {}
        return {
            "operator": {
                "name": ACCOUNT_NAME.lower(),
                "sub": self._key("operator").public,
                "nats": {"system_account": system, "type": "operator", "version": 2},
            },
            "account": {
                "name": ACCOUNT_NAME,
                "sub": account,
                "nats": {**nats, "limits": {**_ACCOUNT_LIMITS, **_JETSTREAM}, **revoked},
            },
            "system": {"name": "SYS", "sub": system, "nats": {**nats, "limits": _ACCOUNT_LIMITS}},
        }

    def _signed(self, name: str, claims: Claims) -> str:
        """The token that says this: the one that is there, or a new one."""
        file, signer = self.folder / "keys" / f"{name}.jwt", self._key("operator")
        if file.exists():
            token = file.read_text(encoding="utf-8").strip()
            if says(token, claims, signer):
                return token
        token = signer.sign(claims)
        _write(file, token + "\n", SECRET_MODE)
        return token

    def _issue(self, user: str, permissions: Permissions, account: str) -> str:
        with self._locked():
            file, signer = self.credentials_of(user), self._key(account)
            if not file.exists():
                key, outcome = Key.new(USER), "made"
            else:
                try:
                    token, key = read_credentials(file.read_text(encoding="utf-8"))
                except KeyBrokenError as error:
                    raise FolderError(f"{file} is {error}; remove it and repeat") from error
                if says(token, _user_claims(user, key, permissions), signer):
                    return f"{user}: kept"
                outcome = "signed again"
            file.parent.mkdir(mode=SECRET_FOLDER_MODE, exist_ok=True)
            claims = _user_claims(user, key, permissions)
            _write(file, credentials(signer.sign(claims), key), SECRET_MODE)
            return f"{user}: {outcome}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(mode=SECRET_FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, SECRET_MODE)
        try:
            _lock(descriptor, self.folder)
            yield
        finally:
            os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise FolderError(f"{folder} is in use by another command") from error
            time.sleep(POLL_SECONDS)
        else:
            return


def _user_claims(name: str, key: Key, permissions: Permissions) -> Claims:
    allowed = {"pub": {"allow": sorted(permissions.publish)}, "sub": {"allow": sorted(permissions.subscribe)}}
    if not permissions.publish:
        allowed["pub"] = {"deny": [">"]}
    return {"name": name, "sub": key.public, "nats": {**allowed, **_UNLIMITED, "type": "user", "version": 2}}


def _write(file: Path, text: str, mode: int) -> bool:
    """Replace a file in one step, never readable by others meanwhile; False when it already said that."""
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return False
    staging = file.with_name(f".{file.name}.new")
    staging.unlink(missing_ok=True)
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    staging.chmod(mode)
    staging.replace(file)
    return True
