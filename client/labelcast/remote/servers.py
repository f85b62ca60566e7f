"""The servers of a client: which one it asks, and when it goes on to the next.

A client stays with one server while that answers, and goes on when it is dead, drains, has no room
or lacks the label set. gRPC's own balancing knows only dead ones, and cannot say who answered.
"""

import itertools
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from labelcast.network.endpoint import check_token, host_and_port
from labelcast.network.places import Place, look_up
from labelcast.network.tls import Tls, refuse_plaintext
from labelcast.remote.transport import Transport, WireBytes

# Not the generator that trainers seed alike on every rank: they would all begin with one server.
_RANDOM = random.SystemRandom()
_turns: Iterator[int]


class Servers:
    """Servers that answer alike, of which a client asks one at a time.

    Args:
        addresses: from `addresses_of`.
        token: bearer token, or None.
        tls: how each server is checked; None for plain text.
        allow_plaintext: whether plain text may leave this machine.
        asynchronous: whether to use grpc.aio.

    Raises:
        InvalidRequestError: the token is impossible, or plain text is not allowed.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        token: str | None,
        *,
        tls: Tls | None,
        allow_plaintext: bool,
        asynchronous: bool,
    ) -> None:
        check_token(token)
        for target in map(host_and_port, addresses):
            if tls is None and not allow_plaintext and target is not None:
                refuse_plaintext(target[0])
        self.wire_bytes = WireBytes()
        self._addresses = addresses
        self._token = token
        self._tls = tls
        self._asynchronous = asynchronous
        self._transports: dict[Place, Transport] = {}
        # Threads share all this without a lock: each assignment is right beside any other.
        self._order: Sequence[Place] = ()
        self._current: Place | None = None
        self.is_stale = True
        """Whether names are looked up before the next call, which takes a while."""

    @property
    def places(self) -> Sequence[Place]:
        """Where the servers are, in the order in which this client tries them."""
        return self._order

    @property
    def answered(self) -> bool:
        """Whether any of them has ever answered in this process."""
        return self.wire_bytes.received > 0

    @property
    def current(self) -> Transport:
        """The one to ask."""
        place = self._current
        if self.is_stale or place is None:
            place = self.look_up()
        found = self._transports.get(place)
        return found or self._transports.setdefault(place, self._transport(place))

    def look_up(self) -> Place:
        """Find where the servers are now; the one to ask stays, if it is still among them."""
        found = [place for address in self._addresses for place in look_up(address)]
        if set(found) != set(self._order):
            self._order = _in_some_order(found)
        order, current = self._order, self._current
        chosen = order[0] if current is None or current not in order else current
        self._current, self.is_stale = chosen, False
        return chosen

    def go_on(self, after: Place) -> None:
        """Ask the server after one that failed, unless another call has gone on already."""
        order = self._order
        if self._current == after and after in order:
            self._current = order[(order.index(after) + 1) % len(order)]
        # A name may lead elsewhere since then.
        self.is_stale = True

    def take_channels(self) -> list[Any]:
        """Hand over the open channels, to be closed; the next call opens another."""
        channels = [each.take_channel() for each in list(self._transports.values())]
        return [channel for channel in channels if channel is not None]

    def _transport(self, place: Place) -> Transport:
        return Transport(
            place,
            self._token,
            tls=self._tls,
            asynchronous=self._asynchronous,
            wire_bytes=self.wire_bytes,
        )


def _in_some_order(places: Iterable[Place]) -> Sequence[Place]:
    """Clients of one process begin with one server after the other, those of others anywhere.

    The rest is in random order, so that clients of a server that dies spread over all others.
    """
    rest = list(places)
    first = rest.pop(next(_turns) % len(rest))
    _RANDOM.shuffle(rest)
    return (first, *rest)


def _begin_anywhere() -> None:
    global _turns
    _turns = itertools.count(_RANDOM.randrange(2**16))


_begin_anywhere()
if hasattr(os, "register_at_fork"):  # Windows has no fork.
    os.register_at_fork(after_in_child=_begin_anywhere)
