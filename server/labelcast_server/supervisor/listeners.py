"""Ports: taken once, for as long as the service runs, and shared only by its own processes.

Three kinds of sockets are bound to a port, and their options decide who may bind beside whom:

    probe         SO_REUSEADDR                   listens for an instant while the port is taken
    reservation   SO_REUSEPORT                   never listens, held while the service runs
    listeners     SO_REUSEADDR + SO_REUSEPORT    of the workers (gRPC sets both) and of the admin

The kernel lets nobody listen with SO_REUSEADDR alone beside a socket that lacks it, so a probe
fails while a reservation is held; it lets a probe listen beside the remains of connections, which
have the options of the listener that took them.
"""

import errno
import random
import socket
import time

from labelcast.errors import BusyError

_ATTEMPTS = 4
_LONGEST_PAUSE_SECONDS = 0.05


def reserve_port(host: str, port: int) -> socket.socket:
    """Take a port without listening on it.

    The kernel sends no connection to a socket that does not listen, so this one only keeps the
    port: workers bind it again with SO_REUSEPORT, and a second service is told that it is taken
    (with SO_REUSEPORT alone, as gRPC sets by default, it would silently share the traffic).
    Leftover connections of a service that has just ended do not count.

    Args:
        host: address to bind.
        port: 0 picks a free one.

    Returns:
        The bound socket; keep it open while the service runs.

    Raises:
        BusyError: another process has the port, or the address is not this machine's.
    """
    attempts_left = _ATTEMPTS
    while True:
        attempts_left -= 1
        try:
            return _reserve(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and attempts_left:
                # Services that start at the same instant may block each other.
                time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311 - no secret
                continue
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise BusyError(
                    f"cannot listen on {host}: this machine has no such address"
                    f" ({error.strerror or error}); give one that it has, or 127.0.0.1 for this"
                    " machine alone, or 0.0.0.0 for all",
                    host=host,
                    port=port,
                ) from None
            raise BusyError(
                f"cannot listen on {address_of(host, port)} ({error.strerror or error});"
                " stop what has it, or choose another port (0 picks a free one)",
                host=host,
                port=port,
            ) from None


def address_of(host: str, port: int) -> str:
    """host:port, with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind_shared(host: str, port: int) -> socket.socket:
    """Bind a port that this service has reserved, to listen on it."""
    shared = socket.socket(_family(host, port))
    try:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            shared.setsockopt(socket.SOL_SOCKET, option, 1)
        shared.bind((host, port))
    except OSError:
        shared.close()
        raise
    return shared


def _reserve(host: str, port: int) -> socket.socket:
    with socket.socket(_family(host, port)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        # Only one socket can listen, so only one gets past this line.
        probe.listen(1)
        # From here on the reservation may be bound beside it. Some socket holds the port at every
        # moment: otherwise another service could take it, and share it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reservation = bind_shared(host, probe.getsockname()[1])
        # Needed to bind beside leftover connections; kept, it would let others' probes pass.
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return reservation


def _family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
