"""Where the servers are that an address names: a name may lead to several."""

import socket
from dataclasses import dataclass

from labelcast.network.endpoint import host_and_port
from labelcast.network.proxies import grpc_proxy, is_loopback

_TARGETS_OF_GRPC = ("dns:", "ipv4:", "ipv6:")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server is reached.

    Attributes:
        address: as it was given: what the server's certificate is for, and no_proxy names.
        target: what a channel connects to: the same, or one of the IP addresses of its name.
    """

    address: str
    target: str

    def __str__(self) -> str:
        return self.address if self.is_as_given else f"{self.target} ({self.address})"

    @property
    def is_as_given(self) -> bool:
        """Whether the channel connects to what was given."""
        return self.address == self.target


def look_up(address: str) -> tuple[Place, ...]:
    """The servers of an address: one for each IP address of a name that has several.

    Everything else is left to gRPC: names that lead nowhere or to one IP address, this machine,
    what a proxy looks up, sockets, and targets in gRPC's own spelling, such as dns:///.

    Args:
        address: one that `check_address` takes.
    """
    found = host_and_port(address)
    one = (Place(address, address),)
    if found is None or address.startswith(_TARGETS_OF_GRPC):
        return one
    host, port = found
    if is_loopback(host) or grpc_proxy(address) is not None:
        return one
    targets = _targets(host, port)
    return tuple(Place(address, each) for each in targets) if len(targets) > 1 else one


def _targets(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    # A server with an address of each family is one server.
    families = {family for family, *_ in found}
    family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    hosts = dict.fromkeys(str(place[0]) for other, *_, place in found if other == family)
    shown = (f"[{each}]" if family == socket.AF_INET6 else each for each in hosts)
    return [f"{each}:{port}" for each in shown]
