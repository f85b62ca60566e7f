"""A faulty seam between worker and decoder process never passes wrong labels on."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from labelcast import Representation
from labelcast.checksums import crc32
from labelcast.codec import Precision
from labelcast.errors import ServiceUnavailableError, WrongSubjectError
from labelcast.torch.decoding import TorchDecoder
from labelcast_server.decoder.client import DecoderClient
from labelcast_server.decoder.fair_queue import Part
from labelcast_server.decoder.jobs import Group, Job, decode, keep
from labelcast_server.decoder.jobs import Loaded as LoadedCodec
from labelcast_server.decoder.landing import HostLanding
from labelcast_server.decoder.protocol import (
    ANSWER_HEAD_BYTES,
    HEADER_BYTES,
    SUBJECT_BYTES,
    Kind,
    pack_answer_head,
    unpack_answer_head,
    unpack_header,
)
from tests.server.decoder.decoders import Loaded, RunningDecoder
from tests.server.decoder.seam_peer import Frame, SeamPeer, Tamper, frame

LOGITS = Representation.logits(Precision.FP32)
RETRY = re.compile(r"retry( in a moment)?$")
REFUSED = (WrongSubjectError, ServiceUnavailableError)


class Seam:
    """Client, peer and decoder in a row."""

    def __init__(self, peer: SeamPeer, client: DecoderClient) -> None:
        self.peer, self.client = peer, client
        # A raw codec: its labels spell its rows, bit for bit.
        self.loaded = Loaded("raw", 1, count=64)
        self.caught = 0
        self.said: list[str] = []

    async def ask(self, start: int, stop: int) -> bool:
        """Whether labels came; they must be the right ones, or a typed error in their place."""
        try:
            reply = await self.loaded.ask(self.client, LOGITS, self.loaded.rows[start:stop])
        except REFUSED as error:
            self.caught += 1
            self.said.append(error.message)
            return False
        labels = np.frombuffer(reply, "<f4").reshape(stop - start, -1)
        assert np.array_equal(labels, self.loaded.labels[start:stop])
        return True

    async def works_again(self) -> None:
        """Do what all of these errors say."""
        assert all(RETRY.search(each) for each in self.said), self.said
        async with asyncio.timeout(60):
            while not await self.ask(8, 16):
                pass


@pytest_asyncio.fixture
async def seam(request: pytest.FixtureRequest) -> AsyncIterator[Seam]:
    seconds = getattr(request, "param", 60.0)
    with tempfile.TemporaryDirectory() as directory:
        decoder = RunningDecoder(Path(directory) / "decoder.sock")
        await decoder.start()
        peer = SeamPeer(Path(directory) / "peer.sock", decoder.socket_path)
        await peer.start()
        client = DecoderClient(Path(directory) / "peer.sock", answer_seconds=seconds)
        opened = Seam(peer, client)
        await opened.works_again()
        opened.caught = 0
        yield opened
        await client.close()
        await peer.stop()
        await decoder.stop()


def renumbered(one: Frame, other: Frame) -> bytes:
    """The content of one frame under the number of another."""
    _, _, kind = unpack_header(one[0])
    _, number, _ = unpack_header(other[0])
    return frame(number, kind, one[1])


def repacked(change: Callable[[bytes], bytes]) -> Tamper:
    """Change a payload and give it a header that fits."""

    def tamper(frames: list[Frame]) -> list[bytes]:
        header, payload = frames[0]
        _, number, kind = unpack_header(header)
        return [frame(number, kind, change(payload))]

    return tamper


def rolled(start: int, width: int) -> Callable[[bytes], bytes]:
    """Shift rows by one, the last one first."""
    return lambda payload: payload[:start] + payload[-width:] + payload[start:-width]


def of_other_rows(payload: bytes) -> bytes:
    """What a decoder says that mixed up its rows: labels and checksum fit, the rows do not."""
    subject, rows_crc32, _ = unpack_answer_head(payload[:ANSWER_HEAD_BYTES])
    labels = payload[ANSWER_HEAD_BYTES:]
    labels = labels[-LABELS:] + labels[:-LABELS]
    return pack_answer_head(subject, rows_crc32 ^ 1, crc32(labels)) + labels


ROW = 22  # bytes of a packed row: 11 classes in half precision
HEADER_BITS = 8 * HEADER_BYTES
LABELS = 44  # bytes of the labels of a row

# What happens to the next frames of a kind: (kind, how many, tamper).
ALWAYS_REFUSED: dict[str, tuple[Kind, int, Tamper]] = {
    "answers exchanged": (Kind.DONE, 2, lambda f: [renumbered(*f), renumbered(*f[::-1])]),
    "answer repeated under the next number": (
        Kind.DONE,
        2,
        lambda f: [b"".join(f[0]), renumbered(f[0], f[1])],
    ),
    "requests exchanged": (Kind.DECODE, 2, lambda f: [renumbered(*f), renumbered(*f[::-1])]),
    "rows of a request shifted": (Kind.DECODE, 1, repacked(rolled(SUBJECT_BYTES, ROW))),
    "labels shifted": (Kind.DONE, 1, repacked(rolled(ANSWER_HEAD_BYTES, LABELS))),
    "labels of other rows under their own checksum": (Kind.DONE, 1, repacked(of_other_rows)),
    "a row missing from a request": (Kind.DECODE, 1, repacked(lambda p: p[:-ROW])),
    "a row missing from an answer": (Kind.DONE, 1, repacked(lambda p: p[:-LABELS])),
    "a row twice in a request": (Kind.DECODE, 1, repacked(lambda p: p + p[-ROW:])),
    "a row twice in an answer": (Kind.DONE, 1, repacked(lambda p: p + p[-LABELS:])),
    "half a row missing": (Kind.DECODE, 1, repacked(lambda p: p[: -ROW // 2])),
    "an empty request": (Kind.DECODE, 1, repacked(lambda _: b"")),
    "an empty answer": (Kind.DONE, 1, repacked(lambda _: b"")),
    "an unknown number": (Kind.DONE, 1, lambda f: [frame(99_999, Kind.DONE, f[0][1])]),
    "an answer of another kind": (Kind.DONE, 1, lambda f: [frame(1, Kind.PING, f[0][1])]),
    "an answer that announces too much": (
        Kind.DONE,
        1,
        lambda f: [frame(unpack_header(f[0][0])[1], Kind.DONE, f[0][1] + bytes(2**20))],
    ),
    "an error about another request": (
        Kind.DONE,
        1,
        lambda f: [frame(unpack_header(f[0][0])[1], Kind.ERROR, bytes(8) + b"{}")],
    ),
    "a codec missing that was not asked for": (
        Kind.DONE,
        1,
        lambda f: [frame(unpack_header(f[0][0])[1], Kind.MISSING, b"x" * 71)],
    ),
}


SAYS = {
    "labels of other rows under their own checksum": (
        "answered for other rows than requested; the answer was dropped, retry"
    ),
    "a row missing from an answer": ("the connection to it is being reopened, retry in a moment"),
}


@pytest.mark.parametrize("fault", ALWAYS_REFUSED)
async def test_a_fault_is_caught_and_the_next_decode_works(seam: Seam, fault: str) -> None:
    kind, count, tamper = ALWAYS_REFUSED[fault]
    seam.peer.arm(kind, count, tamper)
    await asyncio.gather(*(seam.ask(start, start + 7) for start in range(0, 7 * count, 7)))
    assert seam.peer.tampered
    assert seam.caught >= 1
    assert any(SAYS.get(fault, "") in each for each in seam.said)
    before = seam.peer.connections
    await seam.works_again()
    assert seam.peer.connections > before


@pytest.mark.parametrize("kind", [Kind.DECODE, Kind.DONE])
async def test_an_answer_too_many_is_caught(seam: Seam, kind: Kind) -> None:
    seam.peer.arm(kind, 1, lambda f: [b"".join(f[0])] * 2)
    connections = seam.peer.connections
    await seam.ask(0, 7)
    async with asyncio.timeout(60):
        while seam.peer.connections == connections:
            await seam.ask(7, 14)
    await seam.works_again()


@pytest.mark.parametrize("kind", [Kind.DECODE, Kind.DONE])
async def test_frames_in_another_order_are_no_fault(seam: Seam, kind: Kind) -> None:
    seam.peer.arm(kind, 3, lambda f: [b"".join(one) for one in f[::-1]])
    came = await asyncio.gather(*(seam.ask(start, start + 7) for start in (0, 7, 14)))
    assert all(came)


@pytest.mark.parametrize("seam", [0.5], indirect=True)
@pytest.mark.parametrize("kind", [Kind.DECODE, Kind.DONE])
async def test_a_lost_frame_ends_in_time(seam: Seam, kind: Kind) -> None:
    seam.peer.arm(kind, 1, lambda _: [])
    assert not await seam.ask(0, 7)
    await seam.works_again()


@pytest.mark.parametrize("kind", [Kind.LOAD, Kind.DECODE, Kind.DONE])
async def test_no_flipped_bit_passes(seam: Seam, kind: Kind) -> None:
    rng = np.random.default_rng(int(kind))
    for number in range(HEADER_BITS + 60):
        if kind is Kind.LOAD:
            seam.loaded = Loaded("raw", 2 + number)
        # The header is tried in full, the rest at random.
        at = number if number < HEADER_BITS else int(rng.integers(HEADER_BITS, 8 * 300))

        def flip(frames: list[Frame], at: int = at) -> list[bytes]:
            content = bytearray(b"".join(frames[0]))
            content[at // 8 % len(content)] ^= 1 << at % 8
            return [bytes(content)]

        seam.peer.arm(kind, 1, flip)
        assert not await seam.ask(0, 7)
        assert seam.peer.tampered
        await seam.works_again()


@pytest.mark.parametrize("seam", [0.5], indirect=True)
@pytest.mark.parametrize("kind", [Kind.DECODE, Kind.DONE])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.99])
async def test_a_frame_cut_short_is_caught(seam: Seam, kind: Kind, kept: float) -> None:
    def cut(frames: list[Frame]) -> list[bytes]:
        content = b"".join(frames[0])
        return [content[: int(kept * len(content))]]

    seam.peer.arm(kind, 1, cut)
    # Frames that follow are read as the missing rest.
    await asyncio.gather(*(seam.ask(start, start + 7) for start in (0, 7, 14)))
    assert seam.caught >= 1
    await seam.works_again()


@pytest.mark.parametrize("spoilt", ["skipped", "repeated", "exchanged"])
async def test_rows_that_the_decoder_itself_mixes_up_show_in_its_answer(spoilt: str) -> None:
    loaded = Loaded("raw", 1)
    decoder = TorchDecoder.from_codec(loaded.codec, "cpu")
    group = Group(loaded.digest, LOGITS, LoadedCodec(decoder))
    cuts = {"skipped": [(0, 4), (5, 9)], "repeated": [(0, 4), (3, 9)]}
    rows = np.ascontiguousarray(loaded.rows[:9])
    right, wrong = Job(group, rows), Job(group, rows)
    for parts in (
        [Part(right, 0, 4), Part(right, 4, 9)],
        [Part(wrong, *cut) for cut in cuts.get(spoilt, [(4, 9), (0, 4)])],
    ):
        keep(parts, *decode(parts, HostLanding()))
    assert unpack_answer_head(right.answer_head())[1] == crc32(rows)
    assert unpack_answer_head(wrong.answer_head())[1] != crc32(rows)
