"""How fast a stream may go: slowly until it has proven that somebody reads it."""

from labelcast_server.delivery.unit_sizes import UnitSizes
from labelcast_server.delivery.unsent_room import Room, UnsentRoom

# Of a stream's first unit.
_FIRST_BYTES = 2**14
_GROWTH = 2
# More than gRPC takes for a client that reads nothing, which is 4 MiB.
_UNREAD_BYTES = 6 * 2**20
# Of the units and the messages of all unproven streams together, and at least of one.
_UNITS_BYTES = 2**23
_MESSAGES_BYTES = 2**20
_LEAST_MESSAGE_BYTES = 2**12
# Time after which a message that gRPC has not taken stalls a stream.
_UNPROVEN_SECONDS = 0.25
# A trainer's step, or a slow network, is no stall.
_PROVEN_SECONDS = 2.0


class Pace:
    """Rows of a stream's next unit and of its messages, and the room that they take.

    Few rows at first, twice as many after each unit that was sent: whoever reads gets the first
    labels soon. A message that gRPC has taken need not be read, so a stream is proven to have a
    reader only once it has sent more than gRPC takes for a client that reads nothing. Until then it
    shares with all others like it: a message without a reader stays in memory for as long as its
    stream, and a thousand of them must be small.

    Args:
        sizes: of the stream's labels.
        room: memory of the worker.
    """

    def __init__(self, sizes: UnitSizes, room: UnsentRoom) -> None:
        self._sizes = sizes
        self._shared = room
        self._first = self._rows = min(sizes.unit_rows, sizes.rows_within(_FIRST_BYTES))
        self._sent_bytes = 0
        self._is_unproven = True
        room.enter()

    @property
    def row_bytes(self) -> int:
        """Bytes of a delivered row."""
        return self._sizes.row_bytes

    @property
    def rows(self) -> int:
        """Rows of the next unit."""
        if not self._is_unproven:
            return self._rows
        most = self._sizes.rows_within(max(_FIRST_BYTES, self._shared.share(_UNITS_BYTES)))
        return min(self._rows, most)

    @property
    def message_rows(self) -> int:
        """Most rows of a message of the next unit."""
        if not self._is_unproven:
            return self._sizes.message_rows
        most = max(_LEAST_MESSAGE_BYTES, self._shared.share(_MESSAGES_BYTES))
        return min(self._sizes.message_rows, self._sizes.rows_within(most))

    @property
    def room(self) -> Room:
        """Where the next unit has to find room."""
        return self._shared.unproven if self._is_unproven else self._shared.proven

    @property
    def patience_seconds(self) -> float:
        """Time after which a message that gRPC has not taken stalls the stream."""
        return _UNPROVEN_SECONDS if self._is_unproven else _PROVEN_SECONDS

    def sent(self, rows: int) -> None:
        """A unit was sent whole."""
        self._sent_bytes += rows * self._sizes.row_bytes
        if self._sent_bytes > _UNREAD_BYTES:
            self._leave()
        self._rows = min(self._sizes.unit_rows, _GROWTH * self.rows)

    def stalled(self) -> None:
        """A message was not taken in time: begin small again."""
        self._rows = self._first

    def close(self) -> None:
        """The stream has ended."""
        self._leave()

    def _leave(self) -> None:
        if self._is_unproven:
            self._is_unproven = False
            self._shared.leave()
