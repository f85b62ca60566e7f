"""Checks an address and a token before anything is sent: gRPC would only log the mistake."""

import re
from collections.abc import Sequence

from labelcast.errors import InvalidRequestError

_TOKEN = re.compile(r"[!-~]+")
_HOST = r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\])"
_HOST_PORT = rf"{_HOST}:(?P<port>[0-9]{{1,5}})"
_ADDRESS = re.compile(rf"(?:dns:(?://[^/\s]*/)?|ipv4:|ipv6:)?{_HOST_PORT}")
_SOCKET = re.compile(r"unix(?:-abstract)?:(?!/*$).+")
_MAX_PORT = 2**16 - 1


def check_token(token: str | None) -> None:
    """Refuse a token that no header can carry; None means no token.

    Raises:
        InvalidRequestError: it cannot be sent; the message does not repeat it.
    """
    if token is not None and _TOKEN.fullmatch(token) is None:
        raise InvalidRequestError("a token consists of visible ASCII characters, at least one")


def check_address(address: str) -> None:
    """Refuse an address that gRPC could not reach, or would reach on a port of its choice.

    Raises:
        InvalidRequestError: it is none; says what an address looks like, but does not repeat it,
            since people paste URLs with credentials.
    """
    if _is_address(address):
        return
    raise InvalidRequestError(
        "the service's address must be host:port, without http://, like"
        " labels.example.org:7070, [::1]:7070 or unix:/run/labelcast.sock"
    )


def addresses_of(address: str | Sequence[str]) -> tuple[str, ...]:
    """The servers that an argument `address` names, each once.

    Args:
        address: one address, several with commas between, or a sequence of addresses.

    Raises:
        InvalidRequestError: one of them is none, or there are none.
    """
    given = _split(address) if isinstance(address, str) else tuple(address)
    for each in given or ("",):
        check_address(each)
    return tuple(dict.fromkeys(given))


def host_and_port(address: str) -> tuple[str, int] | None:
    """Host without brackets and TCP port of a gRPC target; None for sockets and what is none."""
    found = _ADDRESS.fullmatch(address)
    if found is None or not 1 <= int(found["port"]) <= _MAX_PORT:
        return None
    return found["host"].strip("[]"), int(found["port"])


def _split(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    # The path of a socket may hold commas.
    if len(parts) == 1 or (not all(map(_is_address, parts)) and _is_address(text)):
        return (text,)
    return parts


def _is_address(text: str) -> bool:
    is_socket = text.isprintable() and _SOCKET.fullmatch(text) is not None
    return is_socket or host_and_port(text) is not None
