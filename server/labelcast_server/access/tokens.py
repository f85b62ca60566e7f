"""From a bearer token to a principal."""

import hashlib
import hmac

from labelcast.errors import UnauthenticatedError
from labelcast_server.access.principal import Principal


class Tokens:
    """The tokens of a service; compares them in constant time and by hash.

    Args:
        admin_token: makes an admin.
        read_token: makes a reader; None lets everyone read who can reach the port.
    """

    def __init__(self, *, admin_token: str, read_token: str | None) -> None:
        self._admin = _hash(admin_token)
        self._read = None if read_token is None else _hash(read_token)

    def identify(self, authorization: str | None) -> Principal:
        """Who asks.

        Args:
            authorization: the value of the `authorization` header or metadata, "Bearer …"; None if
                there is none.

        Raises:
            UnauthenticatedError: no token where one is needed, or one that nobody was given.
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
    """Whoever asks has to say who they are."""
    return UnauthenticatedError(
        'this needs a token: send "authorization: Bearer TOKEN",'
        " or give the command line --token-file or LABELCAST_TOKEN"
    )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
