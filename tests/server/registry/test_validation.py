"""A push that is refused takes nothing away from the label sets that are there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelcast.errors import ChecksumMismatchError
from labelcast.label_set import CHUNK_BYTES, BlobRef, digest_of
from labelcast_server.store.memory import memory_store
from tests.factories.label_sets import make_label_set
from tests.factories.pushed import push, services_over, upload


async def test_a_wrong_index_does_not_cost_the_shard_that_it_slanders(tmp_path: Path) -> None:
    store = memory_store()
    label_set, _ = make_label_set(tmp_path, "raw", num_samples=9, num_seeds=2, num_classes=3)
    await push(store, label_set)
    segment = label_set.manifest.segments[0]
    shard = segment.codes.shards[0]
    wrong = np.zeros(shard.index.size // 4, dtype="<u4").tobytes()
    publisher = services_over(store).publisher
    await upload(store, digest_of(wrong), wrong, CHUNK_BYTES)
    slandered = replace(shard, index=BlobRef(digest_of(wrong), len(wrong)))
    codes = replace(segment.codes, shards=(slandered,))
    manifest = replace(label_set.manifest, segments=(replace(segment, codes=codes),))

    with pytest.raises(ChecksumMismatchError):
        await publisher.stage(manifest.digest, manifest.to_bytes())

    assert (await store.blobs.blob(shard.data.digest)).size == shard.data.size
    await publisher.stage(label_set.digest, label_set.manifest.to_bytes())
