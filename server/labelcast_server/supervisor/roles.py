"""Which processes a service has, what each runs, and in which order they start.

decoder       answers the workers            torch
io-worker-N   takes students' requests       gRPC, torch-free, sharing one port
admin         takes administrators' requests REST
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

from labelcast_server.supervisor import entry_points


class Turn(IntEnum):
    """Start order of a process; they stop in reverse order."""

    # A service that starts is whole, and nobody may ask a decoder that is gone.
    ANSWERS_OTHERS = 1
    TAKES_REQUESTS = 2


class Listens(Enum):
    """Where a process takes requests."""

    SOCKET = "socket"
    GRPC = "grpc port"
    ADMIN = "admin port"


@dataclass(frozen=True, slots=True)
class Role:
    """What a process of the service does.

    Attributes:
        name: for people.
        main: coroutine function, see `labelcast_server.supervisor.process.run_process`.
        listens: where it takes requests.
        turn: when it starts.
    """

    name: str
    main: Callable[..., Coroutine[Any, Any, None]]
    listens: Listens
    turn: Turn = Turn.TAKES_REQUESTS


DECODER = Role("decoder", entry_points.decoder, Listens.SOCKET, Turn.ANSWERS_OTHERS)
ADMIN = Role("admin", entry_points.admin_api, Listens.ADMIN)


def worker(number: int) -> Role:
    """I/O worker `number`, counted from 0."""
    return Role(f"io-worker-{number}", entry_points.io_worker, Listens.GRPC)


def roles_of(workers: int) -> tuple[Role, ...]:
    """Every process of a service with this many I/O workers."""
    return (DECODER, *map(worker, range(workers)), ADMIN)
