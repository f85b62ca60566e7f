"""Several decoder processes: work is spread, and what one fails to answer another does."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from labelcast import Representation
from labelcast.codec import Precision
from labelcast.errors import CodecError, ServiceUnavailableError
from labelcast_server.decoder.fleet import DecoderFleet
from labelcast_server.decoder.protocol import Kind
from tests.server.decoder.decoders import Loaded, RunningDecoder
from tests.server.decoder.seam_peer import SeamPeer, frame

LOGITS = Representation.logits(Precision.FP32)
ALL = np.arange(64)


class Fleet:
    """Two decoders, each behind a peer that counts and may tamper."""

    def __init__(self, directory: Path) -> None:
        self.decoders = [RunningDecoder(directory / f"decoder-{n}.sock") for n in range(2)]
        sockets = [directory / f"peer-{n}.sock" for n in range(2)]
        self.peers = [
            SeamPeer(socket, decoder.socket_path)
            for socket, decoder in zip(sockets, self.decoders, strict=True)
        ]
        self.client = DecoderFleet(sockets)

    async def start(self) -> None:
        for decoder in self.decoders:
            await decoder.start()
        for peer in self.peers:
            await peer.start()

    async def stop(self) -> None:
        await self.client.close()
        for peer in self.peers:
            await peer.stop()
        for decoder in self.decoders:
            await decoder.stop()

    def asked(self) -> list[int]:
        """How often labels came from each decoder."""
        others = (Kind.LOAD, Kind.SHARE, Kind.PING)
        return [
            peer.passed[Kind.DONE] - sum(peer.passed[kind] for kind in others)
            for peer in self.peers
        ]

    async def serving(self) -> list[bool]:
        """Which decoders answer a ping."""
        answers = [ping() for ping in self.client.pings.values()]
        return [
            outcome is None for outcome in await asyncio.gather(*answers, return_exceptions=True)
        ]


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[Fleet]:
    with tempfile.TemporaryDirectory() as directory:
        running = Fleet(Path(directory))
        await running.start()
        yield running
        await running.stop()


async def test_both_decode_what_is_asked_at_once(fleet: Fleet) -> None:
    codecs = [Loaded("vqae", 1), Loaded("raw", 2)]
    async with asyncio.timeout(60):
        asked = [loaded.check(fleet.client, LOGITS, ALL) for loaded in codecs for _ in range(50)]
        await asyncio.gather(*asked)
    assert sum(fleet.asked()) == 100
    assert min(fleet.asked()) >= 40


async def test_one_by_one_they_take_turns(fleet: Fleet) -> None:
    loaded = Loaded("raw", 1)
    for _ in range(10):
        await loaded.check(fleet.client, LOGITS, ALL)
    assert fleet.asked() == [5, 5]


async def test_what_a_dying_decoder_had_is_decoded_by_another(fleet: Fleet) -> None:
    loaded = Loaded("vqae", 3, count=4096)
    await asyncio.gather(*(loaded.check(fleet.client, LOGITS, ALL) for _ in range(2)))
    asked = [
        asyncio.create_task(loaded.check(fleet.client, LOGITS, np.arange(4096))) for _ in range(40)
    ]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    await fleet.decoders[0].stop()
    assert not all(task.done() for task in asked)
    async with asyncio.timeout(60):
        await asyncio.gather(*asked)
        for _ in range(10):
            await loaded.check(fleet.client, LOGITS, ALL)
    assert await fleet.serving() == [False, True]


async def test_one_that_comes_back_decodes_again(fleet: Fleet) -> None:
    loaded = Loaded("raw", 1)
    await fleet.decoders[0].stop()
    await loaded.check(fleet.client, LOGITS, ALL)
    await fleet.decoders[0].start()
    async with asyncio.timeout(60):
        while not fleet.asked()[0]:
            await loaded.check(fleet.client, LOGITS, ALL)
            await asyncio.sleep(0.05)
    assert await fleet.serving() == [True, True]


async def test_without_any_decoder_the_error_is_typed(fleet: Fleet) -> None:
    for decoder in fleet.decoders:
        await decoder.stop()
    with pytest.raises(ServiceUnavailableError, match="being restarted"):
        await Loaded("raw", 1).ask(fleet.client, LOGITS)
    assert await fleet.serving() == [False, False]


async def test_a_wrong_answer_is_dropped_and_another_decoder_asked(fleet: Fleet) -> None:
    loaded = Loaded("raw", 1)
    for _ in range(2):
        await loaded.check(fleet.client, LOGITS, ALL)
    fleet.peers[0].arm(Kind.DONE, 1, lambda frames: [frame(99_999, Kind.DONE, frames[0][1])])
    for _ in range(2):
        await loaded.check(fleet.client, LOGITS, ALL)
    assert fleet.peers[0].tampered


async def test_bad_rows_are_not_tried_elsewhere(fleet: Fleet) -> None:
    loaded = Loaded("vqae", 2)
    bad = loaded.rows.copy()
    bad[3] = 255
    with pytest.raises(CodecError):
        await loaded.ask(fleet.client, LOGITS, bad)
    await loaded.check(fleet.client, LOGITS, ALL)
