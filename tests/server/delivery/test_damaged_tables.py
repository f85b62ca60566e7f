"""A service whose tables are damaged on its disk: nothing is delivered by them."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelcast.errors import ServiceUnavailableError
from labelcast.identifiers import tag_from
from labelcast_server.decoder.fleet import DecoderFleet
from labelcast_server.decoder.shared_rows import SharedRows
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.directory import CacheDirectory
from labelcast_server.delivery.cache.tables import SharedTables, scrub_tables
from labelcast_server.delivery.service import LabelService
from labelcast_server.store.memory import memory_store
from tests.factories.label_sets import make_label_set
from tests.factories.pushed import push, services_over

SAMPLES = 20_000


def exchange_two(directory: Path) -> None:
    """Give samples each other's hard labels, or IDs."""
    for path in directory.glob("*.table"):
        with path.open("r+b") as file:
            first, second = file.read(8), file.read(8)
            file.seek(0)
            file.write(second + first)


def cut(directory: Path) -> None:
    for path in directory.glob("*.table"):
        os.truncate(path, 8)


@pytest.mark.parametrize("happens", [exchange_two, cut])
async def test_tables_are_made_anew(tmp_path: Path, happens: Callable[[Path], None]) -> None:
    label_set, _ = make_label_set(
        tmp_path / "set", "vqae-context", num_samples=SAMPLES, num_seeds=1
    )
    store = memory_store()
    await push(store, label_set)
    await services_over(store).publisher.publish(label_set.digest, tag_from("mine:v1"))
    cache = tmp_path / "cache"
    cache.mkdir()
    directory = CacheDirectory(cache)
    tables = SharedTables(directory)
    decoder = SharedRows(DecoderFleet(()))
    chunks = ChunkCache(store.blobs, directory)
    service = LabelService(store, chunks, tables, decoder, message_bytes=2**18, unsent_bytes=2**26)
    opened = await service.label_set(label_set.digest)
    assert opened.context is not None
    views = label_set.index().segments[0].views()
    truth = opened.context.rows(views[:100])
    assert len(opened.tables.files) == 3

    happens(cache)
    scrubbing = asyncio.create_task(
        scrub_tables(tables, service.renew, round_seconds=0, most_of_a_core=1)
    )
    async with asyncio.timeout(60):
        while await service.label_set(label_set.digest) is opened:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
    scrubbing.cancel()
    with pytest.raises(ServiceUnavailableError, match="retry"):
        _ = opened.index
    again = await service.label_set(label_set.digest)
    assert again.context is not None
    assert np.array_equal(again.context.rows(views[:100]), truth)
    assert np.array_equal(again.index.locate(views)[1], np.arange(SAMPLES))
    assert len(again.tables.files) == 3
