"""Checks of the network: ports, and proxies on the way."""

import errno
import socket

from labelcast.network.proxies import proxy_variables
from labelcast_server.doctor.finding import Finding


def check_port(port: int) -> Finding:
    """Check that a TCP port is free to listen on; port 0 stands for any."""
    with socket.socket() as probe:
        # As servers do it: connections of a service that just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            return Finding(
                "port",
                "error",
                f"port {port} is {'taken' if taken else 'not allowed'} ({error.strerror})",
                "stop what listens there, or choose another port",
            )
    return Finding("port", "ok", f"port {port} is free")


def check_proxies() -> Finding:
    """Whether the environment leads clients that are started from here through a proxy."""
    variables = proxy_variables()
    if not variables:
        return Finding("proxy", "ok", "no proxy between clients on this machine and a service")
    return Finding(
        "proxy",
        "warning",
        f"services on other machines are reached through the proxy that {', '.join(variables)}"
        " names; over http:// it reads the admin token",
        "add the services' hosts to no_proxy, or set no_proxy='*'; addresses of this machine never"
        " use a proxy",
    )
