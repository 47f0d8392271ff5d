"""What an admin may be allowed to do: the closed list of scopes, each in words. A later service adds its own here.

Who may write admins can make one with every scope they hold themselves, and nobody with more.
"""

from collections.abc import Iterable, Mapping

USERS_READ = "users:read"
USERS_WRITE = "users:write"
ADMINS_READ = "admins:read"
ADMINS_WRITE = "admins:write"
AUDIT_READ = "audit:read"

ADMIN_SCOPES: Mapping[str, str] = {
    USERS_READ: "List, search and see accounts",
    USERS_WRITE: "Change, block, unlock, log out, delete and restore accounts",
    ADMINS_READ: "List admins",
    ADMINS_WRITE: "Make admins, change what they may do, and deactivate them",
    AUDIT_READ: "Read the audit log",
}


def unknown(scopes: Iterable[str]) -> list[str]:
    """Name those that are no scopes."""
    return sorted(set(scopes) - set(ADMIN_SCOPES))
