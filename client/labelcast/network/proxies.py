"""Which proxy of the environment a connection takes, over HTTP and over gRPC.

Clusters set `http_proxy` and the like for every process. Services of this machine are reached
without any: a proxy would look for 127.0.0.1 on its own machine, and read the admin token there.

    HTTP   http_proxy or https_proxy by the URL's scheme, else all_proxy; upper case where the lower
           case name is not set
    gRPC   grpc_proxy, else https_proxy, else http_proxy, in lower case alone, as gRPC itself does
    none   for hosts that no_proxy or NO_PROXY lists, over gRPC no_grpc_proxy too
"""

import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from labelcast.network.endpoint import host_and_port

_GRPC_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_NO_PROXY = ("no_proxy", "NO_PROXY")
_NO_GRPC_PROXY = ("no_grpc_proxy", *_NO_PROXY)

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that a connection to one host takes.

    Attributes:
        host: where the connection leads in the end.
        variable: environment variable that names the proxy.
        url: the proxy; may hold credentials, so no message repeats it.
    """

    host: str
    variable: str
    url: str = field(repr=False)

    @property
    def way_around(self) -> str:
        """What to do to go without it, for the end of a message."""
        return f"add {self.host} to no_proxy to go without a proxy"

    @property
    def note(self) -> str:
        """What a failure's message says besides."""
        return f"; this went through the proxy that {self.variable} names: {self.way_around}"


def http_proxy(scheme: str, host: str, port: int) -> Proxy | None:
    """Proxy of a connection to an HTTP server; None to go there directly.

    Args:
        scheme: http or https.
        host: name or address, without brackets.
        port: TCP port.
    """
    read = (name for lower in (f"{scheme}_proxy", "all_proxy") for name in _spellings(lower))
    variable = next((name for name in read if os.environ.get(name)), None)
    if variable is None or _goes_directly(host, port, _NO_PROXY):
        return None
    url = os.environ[variable]
    return Proxy(host, variable, url if "://" in url else f"http://{url}")


def grpc_proxy(address: str) -> Proxy | None:
    """Proxy of a channel; None to go there directly.

    Args:
        address: a gRPC target that `check_address` takes.
    """
    found = host_and_port(address)
    variable = next((name for name in _GRPC_VARIABLES if name in os.environ), None)
    if found is None or variable is None or _goes_directly(*found, _NO_GRPC_PROXY):
        return None
    url = os.environ[variable]
    # Of anything else gRPC says in a log that it is not supported, and goes directly.
    return Proxy(found[0], variable, url) if url.startswith("http://") else None


def grpc_options(address: str) -> list[tuple[str, int]]:
    """Options with which a channel takes the proxy that `grpc_proxy` says, or none."""
    return [("grpc.enable_http_proxy", int(grpc_proxy(address) is not None))]


def proxy_variables() -> list[str]:
    """Names of the variables that lead connections to other machines through a proxy."""
    if "*" in _entries(_NO_PROXY):
        return []
    lower = ("http_proxy", "https_proxy", "all_proxy")
    read = ["grpc_proxy", *(name for each in lower for name in _spellings(each))]
    return [name for name in read if os.environ.get(name)]


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine by what it is called: 127/8, ::1, localhost and 0.0.0.0."""
    address = _unmapped(host)
    return is_loopback(host) or (address is not None and address.is_unspecified)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there: 127/8, ::1 and localhost."""
    if _name(host) == "localhost" or _name(host).endswith(".localhost"):
        return True
    address = _unmapped(host)
    return address is not None and address.is_loopback


def _spellings(lower: str) -> tuple[str, ...]:
    """An empty lower case variable takes the upper case one back."""
    return (lower,) if lower in os.environ else (lower, lower.upper())


def _entries(variables: Iterable[str]) -> list[str]:
    texts = (os.environ.get(name, "") for name in variables)
    return [entry.strip() for text in texts for entry in text.split(",") if entry.strip()]


def _goes_directly(host: str, port: int, exceptions: Iterable[str]) -> bool:
    return is_this_machine(host) or any(
        _covers(entry, host) or _covers_port(entry, host, port) for entry in _entries(exceptions)
    )


def _covers_port(entry: str, host: str, port: int) -> bool:
    before, _, after = entry.rpartition(":")
    return after == str(port) and _covers(before, host)


def _covers(entry: str, host: str) -> bool:
    """Whether one entry of no_proxy means a host: itself, a name above it, its network, or all."""
    if entry == "*":
        return True
    address = _address(host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            return False
    above = _name(entry).removeprefix("*").removeprefix(".")
    return bool(above) and (_name(host) == above or _name(host).endswith(f".{above}"))


def _name(host: str) -> str:
    return host.lower().removesuffix(".")


def _unmapped(host: str) -> _Ip | None:
    address = _address(host)
    return getattr(address, "ipv4_mapped", None) or address


def _address(host: str) -> _Ip | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    try:
        # 127.1 and the like, as getaddrinfo reads them; no name is looked up.
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None
