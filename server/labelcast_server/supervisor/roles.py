"""Which processes a service has, what each runs, and in which order they start.

decoder-N     answers the workers            torch, one device each
io-worker-N   takes students' requests       gRPC, torch-free, sharing one port
admin         takes administrators' requests REST
"""

import functools
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
        number: which one of its kind.
    """

    name: str
    main: Callable[..., Coroutine[Any, Any, None]]
    listens: Listens
    turn: Turn = Turn.TAKES_REQUESTS
    number: int = 0


ADMIN = Role("admin", entry_points.admin_api, Listens.ADMIN)


def decoder(number: int) -> Role:
    """Decoder `number`, counted from 0."""
    main = functools.partial(entry_points.decoder, number)
    return Role(f"decoder-{number}", main, Listens.SOCKET, Turn.ANSWERS_OTHERS, number)


def worker(number: int) -> Role:
    """I/O worker `number`, counted from 0."""
    return Role(f"io-worker-{number}", entry_points.io_worker, Listens.GRPC, number=number)


def roles_of(*, decoders: int, workers: int) -> tuple[Role, ...]:
    """Every process of a service with this many decoders and I/O workers."""
    return (*map(decoder, range(decoders)), *map(worker, range(workers)), ADMIN)
