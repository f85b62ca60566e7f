"""Ports: taken once, for as long as the service runs, and shared by its own processes only."""

import socket

from labelcast.errors import BusyError


def reserve_port(host: str, port: int) -> socket.socket:
    """Take a port without listening on it.

    The kernel sends no connection to a socket that does not listen, so this one only keeps the
    port: workers bind it again with SO_REUSEPORT, and a second service is told that it is taken
    (with SO_REUSEPORT alone, as gRPC sets by default, it would silently share the traffic).

    Args:
        host: address to bind.
        port: 0 picks a free one.

    Returns:
        The bound socket; keep it open while the service runs.

    Raises:
        BusyError: someone has the port, or the address is not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
            port = probe.getsockname()[1]
        return bind_shared(host, port)
    except OSError as error:
        raise BusyError(
            f"cannot listen on {host}:{port} ({error.strerror or error});"
            " stop what has it, or choose another port (0 picks a free one)",
            host=host,
            port=port,
        ) from None


def address_of(host: str, port: int) -> str:
    """host:port, with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind_shared(host: str, port: int) -> socket.socket:
    """Bind a port that this service has reserved."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    shared = socket.socket(family)
    # Not SO_REUSEADDR: with it, two services that both wait to listen would both get the port.
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        shared.bind((host, port))
    except OSError:
        shared.close()
        raise
    return shared
