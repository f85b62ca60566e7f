"""The one place that decides who may do what, for gRPC and REST alike."""

import hashlib
import hmac
from enum import StrEnum

from labelcast.errors import PermissionDeniedError, UnauthenticatedError


class Scope(StrEnum):
    """What a token may do."""

    READ = "read"
    ADMIN = "admin"


class Authorizer:
    """Compares bearer tokens, in constant time and by hash.

    Args:
        admin_token: grants every scope.
        read_token: grants reading; None lets everyone read who can reach the port.
    """

    def __init__(self, *, admin_token: str, read_token: str | None) -> None:
        self._admin = _hash(admin_token)
        self._read = None if read_token is None else _hash(read_token)

    def require(self, authorization: str | None, scope: Scope) -> None:
        """Return if the caller may.

        Args:
            authorization: the value of the `authorization` header or metadata, "Bearer …".
            scope: what is to be done.

        Raises:
            UnauthenticatedError: no token, or one that nobody was given.
            PermissionDeniedError: a token without that scope.
        """
        if scope is Scope.READ and self._read is None and authorization is None:
            return
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise UnauthenticatedError(
                f'this needs a token with scope {scope}: send "authorization: Bearer TOKEN",'
                " or give the command line --token-file or LABELCAST_TOKEN"
            )
        given = _hash(token.strip())
        if hmac.compare_digest(given, self._admin):
            return
        if self._read is None or not hmac.compare_digest(given, self._read):
            raise UnauthenticatedError(
                "the token is not valid here; ask the service's admin for one"
            )
        if scope is not Scope.READ:
            raise PermissionDeniedError(f"this token may read only, not {scope}")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
