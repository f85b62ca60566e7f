"""What a manifest names is read once, refused if wrong, and no sound blob is lost by it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    DigestMismatchError,
    ManifestError,
)
from labelcast.identifiers import Digest
from labelcast.label_set import CHUNK_BYTES, BlobRef, Manifest, digest_of
from labelcast.label_set.fingerprints import FingerprintKind
from labelcast.label_set.section import chunk_checksum
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_server.store.memory import (
    MemoryBlobs,
    MemoryCatalog,
    MemoryConnection,
    memory_store,
)
from labelcast_server.store.store import Store
from labelcast_server.store.verified_reads import read_blob
from tests.factories.label_sets import CodecName, make_label_set, with_fingerprints
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


class CountedBlobs(MemoryBlobs):
    """Counts how often each chunk was read."""

    def __init__(self, connection: MemoryConnection) -> None:
        super().__init__(connection)
        self.reads = Counter[tuple[str, int]]()

    async def read_chunks(self, digest: Digest, numbers: Sequence[int]) -> list[bytes]:
        self.reads.update((digest, number) for number in numbers)
        return await super().read_chunks(digest, numbers)


async def stage(store: Store, manifest: Manifest) -> None:
    await services_over(store).publisher.stage(manifest.digest, manifest.to_bytes())


@pytest.mark.parametrize("codec", ["raw", "vqae-context"])
async def test_nothing_is_read_twice(tmp_path: Path, codec: CodecName) -> None:
    connection = MemoryConnection()
    blobs = CountedBlobs(connection)
    label_set = with_fingerprints(make_label_set(tmp_path, codec)[0], FingerprintKind.FILES)
    store = Store(blobs, MemoryCatalog(connection), connection)
    await push(store, label_set)
    (segment,) = label_set.manifest.segments
    for section in segment.sections().values():
        for shard in section.shards:
            assert blobs.reads[shard.data.digest, 0] == 1


def with_index_of_samples(manifest: Manifest, index: bytes) -> Manifest:
    (segment,) = manifest.segments
    (shard,) = segment.sample_ids.shards
    other = replace(shard, index=BlobRef(digest_of(index), len(index)))
    sample_ids = replace(segment.sample_ids, shards=(other,))
    return replace(manifest, segments=(replace(segment, sample_ids=sample_ids),))


async def pushed(directory: Path, store: Store) -> LabelSetDirectory:
    label_set, _ = make_label_set(directory, "raw", num_samples=9, num_seeds=2, num_classes=3)
    await push(store, label_set, stage=False)
    return label_set


async def test_a_table_that_its_index_slanders_is_refused(tmp_path: Path) -> None:
    store = memory_store()
    label_set = await pushed(tmp_path, store)
    wrong = np.zeros(1, dtype="<u4").tobytes()
    await upload(store, digest_of(wrong), wrong, CHUNK_BYTES)
    with pytest.raises(ChecksumMismatchError):
        await stage(store, with_index_of_samples(label_set.manifest, wrong))


async def test_a_damaged_table_whose_index_fits_the_damage_is_refused(tmp_path: Path) -> None:
    store = memory_store()
    label_set = await pushed(tmp_path, store)
    (shard,) = label_set.manifest.segments[0].sample_ids.shards
    damaged = bytearray(label_set.read_blob(shard.data))
    damaged[0] ^= 1
    assert isinstance(store.blobs, MemoryBlobs)
    store.blobs._blobs[shard.data.digest][1][:] = [bytes(damaged)]
    index = np.array([chunk_checksum(bytes(damaged))], dtype="<u4").tobytes()
    await upload(store, digest_of(index), index, CHUNK_BYTES)
    with pytest.raises(DigestMismatchError):
        await stage(store, with_index_of_samples(label_set.manifest, index))


async def in_chunks_of_8(label_set: LabelSetDirectory, store: Store) -> Digest:
    """Upload sample IDs in other chunks than the manifest says, and all the rest."""
    (shard,) = label_set.manifest.segments[0].sample_ids.shards
    await upload(store, shard.data.digest, label_set.read_blob(shard.data), 8)
    await push(store, label_set, stage=False)
    return shard.data.digest


async def test_a_table_in_other_chunks_is_taken_again(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path, "raw", num_samples=9, num_seeds=2, num_classes=3)
    store = memory_store()
    await in_chunks_of_8(label_set, store)
    with pytest.raises(BlobNotFoundError, match="; push the label set again"):
        await stage(store, label_set.manifest)
    await push(store, label_set)
    # Also where the label set was staged before.
    await store.blobs.drop_blob(await in_chunks_of_8(label_set, memory_store()))
    await in_chunks_of_8(label_set, store)
    with pytest.raises(BlobNotFoundError, match="; push the label set again"):
        await stage(store, label_set.manifest)
    await push(store, label_set)


async def test_a_table_that_another_label_set_has_in_other_chunks_is_kept(tmp_path: Path) -> None:
    label_set = await pushed(tmp_path, store := memory_store())
    await stage(store, label_set.manifest)
    (segment,) = label_set.manifest.segments
    halved = replace(segment.sample_ids, rows_per_chunk=segment.sample_ids.rows // 2)
    content = label_set.read_blob(halved.shards[0].data)
    size = halved.chunk_bytes
    chunks = [content[at : at + size] for at in range(0, len(content), size)]
    sums = np.array([chunk_checksum(chunk) for chunk in chunks], dtype="<u4").tobytes()
    shard = replace(halved.shards[0], index=BlobRef(digest_of(sums), len(sums)))
    other = replace(segment, sample_ids=replace(halved, shards=(shard,)))
    manifest = replace(label_set.manifest, segments=(other,))
    await upload(store, digest_of(sums), sums, CHUNK_BYTES)
    with pytest.raises(ManifestError, match="push one of the two label sets to another service"):
        await stage(store, manifest)
    another = memory_store()
    await upload(another, shard.data.digest, content, size)
    await upload(another, digest_of(sums), sums, CHUNK_BYTES)
    await push(another, label_set, stage=False)
    await stage(another, manifest)
    await stage(store, label_set.manifest)


async def test_a_blob_whose_size_is_damaged_is_read_and_taken_again(tmp_path: Path) -> None:
    store = memory_store()
    label_set = await pushed(tmp_path, store)
    codec = label_set.manifest.codec
    assert isinstance(store.blobs, MemoryBlobs)
    info, chunks = store.blobs._blobs[codec.digest]
    store.blobs._blobs[codec.digest] = replace(info, size=info.size + 1), chunks
    with pytest.raises(DigestMismatchError, match="push the label set again"):
        await read_blob(store.blobs, codec)
    with pytest.raises(DigestMismatchError, match="push the label set again"):
        await stage(store, label_set.manifest)
    await push(store, label_set)
    assert await read_blob(store.blobs, codec) == label_set.read_blob(codec)


async def test_a_manifest_that_slanders_a_blob_does_not_cost_it(tmp_path: Path) -> None:
    store = memory_store()
    label_set = await pushed(tmp_path, store)
    codec = label_set.manifest.codec
    slandered = replace(label_set.manifest, codec=replace(codec, size=codec.size + 1))
    with pytest.raises(ManifestError, match="bytes, not"):
        await stage(store, slandered)
    await stage(store, label_set.manifest)
