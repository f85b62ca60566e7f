"""A stream begins small, grows while it is read, and shares with others until that is proven."""

from labelcast.codec import Precision
from labelcast.representation import Representation
from labelcast_server.delivery.pace import Pace
from labelcast_server.delivery.unit_sizes import UnitSizes
from labelcast_server.delivery.unsent_room import UnsentRoom

# 262 rows a message, 2096 a unit.
SIZES = UnitSizes.of(
    Representation.logits(Precision.FP16), num_classes=1000, code_stride=8, message_bytes=2**18
)
LIMIT = 2**28


def send(pace: Pace, units: int) -> list[int]:
    sent = []
    for _ in range(units):
        sent.append(pace.rows)
        pace.sent(pace.rows)
    return sent


def test_a_stream_alone_begins_small_and_grows_with_what_is_read() -> None:
    pace = Pace(SIZES, UnsentRoom(LIMIT))
    assert pace.message_rows == 262
    assert send(pace, 11) == [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 2096, 2096]


def test_a_stream_is_proven_once_it_sent_more_than_nobody_takes() -> None:
    room = UnsentRoom(LIMIT)
    pace = Pace(SIZES, room)
    for _ in range(4 * 2**20 // (2000 * 8)):
        pace.sent(8)
    assert pace.room is room.unproven
    for _ in range(3 * 2**20 // (2000 * 8)):
        pace.sent(8)
    assert pace.room is room.proven


def test_a_thousand_without_a_reader_hold_little_and_leave_room_to_those_who_read() -> None:
    room = UnsentRoom(LIMIT)
    read = Pace(SIZES, room)
    send(read, 12)
    silent = [Pace(SIZES, room) for _ in range(1000)]
    send(silent[0], 12)
    assert (silent[0].rows, silent[0].message_rows) == (8, 2)
    assert room.unproven.budget.try_take(2**16)
    assert not room.unproven.budget.try_take(2**18)
    assert (read.rows, read.message_rows) == (2096, 262)
    assert room.proven.budget.try_take(2**27)
    for pace in silent:
        pace.close()
        pace.close()
    assert Pace(SIZES, room).message_rows == 262


def test_who_stalls_begins_small_again() -> None:
    pace = Pace(SIZES, UnsentRoom(LIMIT))
    send(pace, 12)
    pace.stalled()
    assert pace.message_rows == 262
    assert send(pace, 3) == [8, 16, 32]
