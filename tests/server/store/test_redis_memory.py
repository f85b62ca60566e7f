"""What a label costs in a real Redis, with chunks of the size that the library chooses."""

import os

import pytest

from labelcast.label_set.chunking import CHUNK_BYTES, rows_per_chunk
from labelcast_server.store.store import Store
from tests.server.store.blobs import push


@pytest.mark.parametrize("stride", [8, 16, 20, 80, 2000])
async def test_memory_beyond_the_payload_is_below_five_percent(
    redis_store: Store, stride: int
) -> None:
    chunk_bytes = rows_per_chunk(stride) * stride
    content = os.urandom(130 * chunk_bytes)
    blob = await push(redis_store.blobs, content, chunk_bytes)

    spent = await redis_store.blobs.memory_bytes(blob.digest)
    assert len(content) < spent < 1.05 * len(content)


async def test_blobs_without_rows_waste_as_little(redis_store: Store) -> None:
    blob = await push(redis_store.blobs, os.urandom(40 * CHUNK_BYTES), CHUNK_BYTES)
    assert await redis_store.blobs.memory_bytes(blob.digest) < 1.01 * blob.size
