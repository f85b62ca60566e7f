"""Rows that several streams want at once are decoded once, and nobody spoils it for the others."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest_asyncio

from labelcast import Representation
from labelcast.checksums import crc32
from labelcast.codec import Precision, Rows
from labelcast.errors import CodecError
from labelcast_server.decoder.fleet import DecodedRows, DecoderFleet
from labelcast_server.decoder.protocol import Kind
from labelcast_server.decoder.shared_rows import SharedRows
from tests.server.decoder.decoders import Loaded, RunningDecoder
from tests.server.decoder.seam_peer import SeamPeer

LOGITS = Representation.logits(Precision.FP32)


class Sharing:
    """Requests through a peer that counts them."""

    def __init__(self, directory: Path) -> None:
        self._decoder = RunningDecoder(directory / "decoder.sock")
        self.peer = SeamPeer(directory / "peer.sock", self._decoder.socket_path)
        self.shared = SharedRows(DecoderFleet([directory / "peer.sock"]))
        self.loaded = Loaded("vqae", 2, count=2048)

    async def start(self) -> None:
        await self._decoder.start()
        await self.peer.start()
        await self.ask(self.loaded.rows[:1])
        self.peer.passed.clear()

    async def stop(self) -> None:
        await self.shared.close()
        await self.peer.stop()
        await self._decoder.stop()

    async def ask(self, rows: Rows, form: Representation = LOGITS) -> DecodedRows:
        return await self.shared.decode(self.loaded.packed(form, rows))

    @property
    def decodes(self) -> int:
        return self.peer.passed[Kind.DECODE]


@pytest_asyncio.fixture
async def sharing() -> AsyncIterator[Sharing]:
    with tempfile.TemporaryDirectory() as directory:
        running = Sharing(Path(directory))
        await running.start()
        yield running
        await running.stop()


async def test_the_same_rows_at_once_are_decoded_once(sharing: Sharing) -> None:
    rows = sharing.loaded.rows
    answers = await asyncio.gather(*(sharing.ask(rows.copy()) for _ in range(5)))
    assert sharing.decodes == 1
    for decoded in answers:
        labels = bytes(decoded.payload)
        decoded.check()
        assert crc32(labels) == decoded.crc32
        got = np.frombuffer(labels, "<f4").reshape(len(rows), -1)
        assert np.allclose(got, sharing.loaded.labels, atol=1e-4)


async def test_nothing_is_kept(sharing: Sharing) -> None:
    for count in (1, 2, 3):
        await sharing.ask(sharing.loaded.rows)
        assert sharing.decodes == count


async def test_other_rows_and_other_forms_are_decoded_for_themselves(sharing: Sharing) -> None:
    rows, half = sharing.loaded.rows, Representation.logits(Precision.FP16)
    asked = [sharing.ask(rows), sharing.ask(rows[::-1]), sharing.ask(rows, half)]
    answers = await asyncio.gather(*asked)
    assert sharing.decodes == 3
    assert len({decoded.crc32 for decoded in answers}) == 3


async def test_who_leaves_takes_nothing_from_the_others(sharing: Sharing) -> None:
    asked = [asyncio.create_task(sharing.ask(sharing.loaded.rows)) for _ in range(3)]
    await asyncio.sleep(0)
    asked[0].cancel()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert [type(outcome) for outcome in outcomes[1:]] == [DecodedRows, DecodedRows]
    assert sharing.decodes == 1


async def test_when_all_have_left_the_next_decodes_anew(sharing: Sharing) -> None:
    asked = [asyncio.create_task(sharing.ask(sharing.loaded.rows)) for _ in range(2)]
    await asyncio.sleep(0)
    for task in asked:
        task.cancel()
    decoded = await sharing.ask(sharing.loaded.rows)
    assert len(decoded.payload) == sharing.loaded.labels.size * 4
    assert all(task.cancelled() for task in asked)


async def test_everybody_hears_of_bad_rows_on_its_own(sharing: Sharing) -> None:
    bad = sharing.loaded.rows.copy()
    bad[3] = 255
    asked = (sharing.ask(bad) for _ in range(3))
    errors = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(error, CodecError) for error in errors)
    assert len({id(error) for error in errors}) == 3
    assert sharing.decodes == 1
