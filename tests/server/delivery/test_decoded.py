"""Labels that a decoder process left in shared memory, on their way into messages."""

import asyncio
import mmap
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from labelcast import Representation, wire
from labelcast.codec import Precision
from labelcast.errors import ServiceUnavailableError
from labelcast.identifiers import tag_from
from labelcast_server.decoder.client import PackedRows
from labelcast_server.decoder.fleet import DecodedRows, DecoderFleet
from labelcast_server.decoder.protocol import Place
from labelcast_server.decoder.shared_memory import Slot
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.directory import CacheDirectory
from labelcast_server.delivery.cache.tables import SharedTables
from labelcast_server.delivery.service import LabelService
from labelcast_server.store.memory import memory_store
from tests.factories.label_sets import make_label_set
from tests.factories.pushed import push, services_over
from tests.server.decoder.decoders import RunningDecoder

LOGITS = Representation.logits(Precision.FP32)


class Hasty(DecoderFleet):
    """Recycles slots while their labels are still wanted, in one way or another."""

    how = "not"

    async def decode(self, wanted: PackedRows) -> DecodedRows:
        decoded = await super().decode(wanted)
        slot = decoded.slot
        if self.how != "not" and slot is not None:
            if self.how == "begun":
                memory = slot.labels.obj
                assert isinstance(memory, mmap.mmap)
                Slot.written(memory, Place(slot.place.offset, 99), len(slot.labels))
            else:
                slot.labels[100] ^= 1
        return decoded


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[Hasty]:
    with tempfile.TemporaryDirectory() as directory:
        decoder = RunningDecoder(Path(directory) / "decoder.sock")
        await decoder.start()
        opened = Hasty([decoder.socket_path])
        yield opened
        await opened.close()
        await decoder.stop()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("begun", "used again too early; the labels were dropped, retry in a moment"),
        ("written", "damaged in memory before they were sent; retry in a moment"),
    ],
)
async def test_a_slot_that_is_recycled_early_never_becomes_a_message(
    tmp_path: Path, fleet: Hasty, how: str, message: str
) -> None:
    label_set, labels = make_label_set(tmp_path / "set", num_samples=2000, num_seeds=1)
    store = memory_store()
    await push(store, label_set)
    await services_over(store).publisher.publish(label_set.digest, tag_from("mine:v1"))
    (tmp_path / "cache").mkdir()
    directory = CacheDirectory(tmp_path / "cache")
    chunks, tables = ChunkCache(store.blobs, directory), SharedTables(directory)
    service = LabelService(store, chunks, tables, fleet, message_bytes=2**18, unsent_bytes=2**26)
    reader = await service.reader(label_set.digest, LOGITS)
    asked = wire.AskedViews(wire.views_to_proto(label_set.index().segments[0].views()))
    async with asyncio.timeout(60):
        await asyncio.gather(*(ping() for ping in fleet.pings.values()))
        before = await reader.read_whole(asked)
        fleet.how = how
        with pytest.raises(ServiceUnavailableError, match=message):
            await reader.read_whole(asked)
        fleet.how = "not"
        assert await reader.read_whole(asked) == before
    values = np.concatenate([np.frombuffer(block.payload, "<f4") for block in before])
    assert np.array_equal(values.reshape(labels.shape), labels)
