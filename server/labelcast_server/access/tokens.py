"""From a bearer token to a principal."""

import hashlib
import hmac

from labelcast.errors import UnauthenticatedError
from labelcast_server.access.principal import Principal


class Tokens:
    """The tokens of a service, compared by hash and in constant time.

    Args:
        admin_token: token that makes its bearer an admin.
        read_token: token that makes its bearer a reader; None lets everyone read who can reach the
            port.
    """

    def __init__(self, *, admin_token: str, read_token: str | None) -> None:
        self._admin = _hash(admin_token)
        self._read = None if read_token is None else _hash(read_token)

    def identify(self, authorization: str | None) -> Principal:
        """Find out who is asking.

        Args:
            authorization: value of the `authorization` header or metadata, "Bearer …"; None if the
                request has none.

        Raises:
            UnauthenticatedError: a token is missing where one is needed, or unknown.
        """
        if authorization is None and self._read is None:
            return Principal.ANYONE
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise token_needed()
        given = _hash(token.strip())
        if hmac.compare_digest(given, self._admin):
            return Principal.ADMIN
        if self._read is not None and hmac.compare_digest(given, self._read):
            return Principal.READER
        raise UnauthenticatedError("the token is not valid here; ask the service's admin for one")


def token_needed() -> UnauthenticatedError:
    """The caller has to send a token."""
    return UnauthenticatedError(
        'this needs a token: send "authorization: Bearer TOKEN",'
        " or give the command line --token-file or LABELCAST_TOKEN"
    )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
