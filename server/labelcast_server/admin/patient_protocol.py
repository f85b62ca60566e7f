"""HTTP/1.1 with a time limit on every silence and a limit on connections.

Uvicorn closes a connection that is idle after an answer, but waits forever for a first request,
for the rest of a head or a body, and for a client to take its answer.
"""

import asyncio
from dataclasses import dataclass

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the admin API waits, and for how many connections.

    Attributes:
        head_seconds: time for a whole request head, from its first byte or from connecting.
        body_seconds: time without a byte, while a body is expected or an answer is being sent.
        connections: most open connections; further ones are closed at once.
    """

    head_seconds: float = 20.0
    body_seconds: float = 60.0
    connections: int = 256


DEFAULT_PATIENCE = Patience()


def protocol_with(patience: Patience) -> type[H11Protocol]:
    """Make a protocol class for `uvicorn.Config(http=...)`."""

    class PatientProtocol(_PatientProtocol):
        limits = patience

    return PatientProtocol


class _PatientProtocol(H11Protocol):
    limits = DEFAULT_PATIENCE
    _timer: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.limits.connections:
            # Closed without an answer, which could again block on a silent client.
            self._refused = True
            transport.abort()
            return
        super().connection_made(transport)
        self._wait(self.limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if not self._refused:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)
            self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait(self.limits.body_seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._look()

    def timeout_keep_alive_handler(self) -> None:
        self._give_up()

    def _look(self) -> None:
        """Start the clock for whatever the connection waits for."""
        state = self.conn.their_state
        if self.flow.write_paused:
            # The clock is running already.
            return
        if state is h11.SEND_BODY:
            self._wait(self.limits.body_seconds)
        elif state is not h11.IDLE or self.timeout_keep_alive_task is not None:
            # The request is complete, and the service decides how long an answer takes; or the next
            # request has not begun, and uvicorn's own limit applies.
            self._stop_waiting()
        elif self._timer is None:
            # Half a head: its clock runs from the first byte, however slowly the rest trickles in.
            self._wait(self.limits.head_seconds)

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.SEND_BODY and self.flow.read_paused:
            # We are the side that does not read.
            self._wait(self.limits.body_seconds)
            return
        # Not `close`, which would wait until the peer has taken what is left to send.
        self.transport.abort()
