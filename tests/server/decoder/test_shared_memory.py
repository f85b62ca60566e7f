"""Labels that cross in shared memory: slots overlap nowhere, and wrong labels are caught."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from labelcast import Representation
from labelcast.checksums import crc32
from labelcast.codec import Precision
from labelcast.errors import LabelcastError, ServiceUnavailableError, WrongSubjectError
from labelcast_server.decoder import connection
from labelcast_server.decoder.client import DecodedRows, DecoderClient
from labelcast_server.decoder.protocol import (
    SUBJECT_BYTES,
    Kind,
    Place,
    unpack_header,
    unpack_subject,
    with_place,
)
from labelcast_server.decoder.shared_memory import HEAD_BYTES, SharedMemory, Slot, open_shared
from tests.server.decoder.decoders import Loaded, RunningDecoder
from tests.server.decoder.seam_peer import Frame, SeamPeer, Tamper, frame

LOGITS = Representation.logits(Precision.FP32)
ROWS = 1024  # 11 classes of 4 bytes: 44 KB of labels


def test_slots_overlap_nowhere_and_come_back() -> None:
    memory, held, rng = SharedMemory(2**16), list[Slot](), np.random.default_rng(0)
    refused = 0
    for number in range(2000):
        slot = memory.take(int(rng.integers(1, 12_000)))
        if slot is None:
            refused += 1
            held.pop(int(rng.integers(len(held))))
            continue
        slot.labels[:] = bytes([number % 256]) * len(slot.labels)
        held.append(slot)
        spans = sorted((one.place.offset, len(one.labels)) for one in held)
        ends = [start + HEAD_BYTES + size for start, size in spans]
        assert all(end <= start for end, (start, _) in zip(ends[:-1], spans[1:], strict=True))
        assert ends[-1] <= 2**16
        del slot
    assert refused > 100
    assert len({one.place.generation for one in held}) == len(held)
    held.clear()
    assert memory.take(2**16 - HEAD_BYTES) is not None


def test_only_the_memory_that_was_meant_is_mapped(tmp_path: Path) -> None:
    memory, other = SharedMemory(2**16), tmp_path / "other"
    other.write_bytes(bytes(2**16))
    os.mkfifo(tmp_path / "fifo")
    reference = memory.reference()
    slot = memory.take(100)
    assert slot is not None
    Slot.written(open_shared(reference), slot.place, 100).labels[:] = b"x" * 100
    assert bytes(slot.labels) == b"x" * 100
    assert slot.intact
    for path in (other, tmp_path / "fifo", tmp_path, tmp_path / "nothing"):
        with pytest.raises((OSError, ValueError)):
            open_shared(reference[:16] + os.fsencode(path))
    with pytest.raises(ValueError, match="no reference"):
        open_shared(b"")
    memory.close_to_others()
    with pytest.raises(OSError, match="No such file"):
        open_shared(reference)


class Shared:
    """Client, peer and decoder in a row, with labels in shared memory."""

    def __init__(self, directory: Path) -> None:
        self.decoder = RunningDecoder(directory / "decoder.sock")
        self.peer = SeamPeer(directory / "peer.sock", self.decoder.socket_path)
        self.client = DecoderClient(directory / "peer.sock")
        self.loaded = Loaded("raw", 1, count=4 * ROWS)

    async def start(self) -> None:
        await self.decoder.start()
        await self.peer.start()
        await self.loaded.check(self.client, LOGITS, np.arange(4))
        # The answer to SHARE came before.
        await self.client.ping()

    async def stop(self) -> None:
        await self.client.close()
        await self.peer.stop()
        await self.decoder.stop()

    async def decode(self, block: int) -> DecodedRows:
        rows = self.loaded.rows[block * ROWS :][:ROWS]
        return await self.client.decode(self.loaded.packed(LOGITS, rows))

    def right(self, block: int) -> bytes:
        return self.loaded.labels[block * ROWS :][:ROWS].astype("<f4").tobytes()


@pytest_asyncio.fixture
async def shared() -> AsyncIterator[Shared]:
    with tempfile.TemporaryDirectory() as directory:
        running = Shared(Path(directory))
        await running.start()
        yield running
        await running.stop()


def to_place(change: Callable[[Place], Place]) -> Tamper:
    """Let a request name another place than it does."""

    def tamper(frames: list[Frame]) -> list[bytes]:
        header, payload = frames[0]
        _, number, kind = unpack_header(header)
        subject = payload[:SUBJECT_BYTES]
        *_, place = unpack_subject(subject)
        changed = with_place(subject, change(place))
        return [frame(number, kind, changed + payload[SUBJECT_BYTES:])]

    return tamper


async def test_labels_come_in_slots_of_their_own(shared: Shared) -> None:
    answers = await asyncio.gather(*(shared.decode(block) for block in range(4)))
    for block, decoded in enumerate(answers):
        assert decoded.slot is not None
        assert bytes(decoded.payload) == shared.right(block)
        assert crc32(decoded.payload) == decoded.crc32
        decoded.check()


async def test_small_answers_come_through_the_socket(shared: Shared) -> None:
    decoded = await shared.client.decode(shared.loaded.packed(LOGITS, shared.loaded.rows[:4]))
    assert decoded.slot is None


async def test_a_slot_that_is_recycled_early_is_noticed(shared: Shared) -> None:
    first = await shared.decode(0)
    assert first.slot is not None
    at = first.slot.place
    # The next request is led to the slot whose labels nobody has copied yet.
    shared.peer.arm(Kind.DECODE, 1, to_place(lambda place: Place(at.offset, place.generation)))
    with pytest.raises(WrongSubjectError):
        await shared.decode(1)
    assert bytes(first.payload) == shared.right(1)
    with pytest.raises(ServiceUnavailableError, match="too early"):
        first.check()
    assert crc32(first.payload) != first.crc32
    again = await shared.decode(0)
    assert bytes(again.payload) == shared.right(0)
    again.check()


async def test_labels_written_into_the_middle_of_others_show_in_their_checksum(
    shared: Shared,
) -> None:
    first = await shared.decode(0)
    assert first.slot is not None
    inside = Place(first.slot.place.offset + 4096, 999)
    shared.peer.arm(Kind.DECODE, 1, to_place(lambda _: inside))
    with pytest.raises(WrongSubjectError):
        await shared.decode(1)
    first.check()
    assert crc32(first.payload) != first.crc32


@pytest.mark.parametrize("place", [Place(2**25, 5), Place(2**25 - 64, 5), Place(2**63, 5)])
async def test_a_place_outside_the_memory_is_refused(shared: Shared, place: Place) -> None:
    shared.peer.arm(Kind.DECODE, 1, to_place(lambda _: place))
    with pytest.raises(LabelcastError):
        await shared.decode(0)
    assert shared.peer.tampered
    assert bytes((await shared.decode(1)).payload) == shared.right(1)


async def test_a_caller_that_left_keeps_its_slot_until_the_answer(shared: Shared) -> None:
    answered = shared.peer.passed[Kind.DONE]
    shared.peer.arm(Kind.DONE, 3, lambda frames: [b"".join(one) for one in frames])
    left = asyncio.create_task(shared.decode(0))
    async with asyncio.timeout(30):
        while shared.peer.passed[Kind.DONE] == answered:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    # All three answers come together: the first belongs to nobody.
    answers = await asyncio.gather(shared.decode(1), shared.decode(2))
    assert [decoded.slot is None for decoded in answers] == [False, False]
    assert 0 not in {decoded.slot.place.offset for decoded in answers if decoded.slot}
    for block, decoded in zip((1, 2), answers, strict=True):
        assert bytes(decoded.payload) == shared.right(block)
        decoded.check()


async def test_without_a_free_slot_labels_come_through_the_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "SharedMemory", lambda: SharedMemory(2**17))
    with tempfile.TemporaryDirectory() as directory:
        running = Shared(Path(directory))
        await running.start()
        answers = await asyncio.gather(*(running.decode(block) for block in range(4)))
        assert [decoded.slot is None for decoded in answers] == [False, False, True, True]
        for block, decoded in enumerate(answers):
            assert bytes(decoded.payload) == running.right(block)
        await running.stop()


async def test_a_machine_without_shared_memory_uses_the_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with tempfile.TemporaryDirectory() as directory:
        running = Shared(Path(directory))
        await running.start()
        decoded = await running.decode(0)
        assert decoded.slot is None
        assert bytes(decoded.payload) == running.right(0)
        await running.stop()
