"""Label sets as directories: written in pieces, read back checked."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    DigestMismatchError,
    LabelcastError,
    ManifestError,
    ViewNotFoundError,
)
from labelcast.files import file_digest
from labelcast.label_set import RowOrder, digest_of
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter, blob_path
from labelcast.views import Views
from tests.factories.decoded import assert_decoded
from tests.factories.label_sets import CodecName, make_label_set


@pytest.mark.parametrize("codec", ["raw", "topk", "vqae"])
@pytest.mark.parametrize("order", list(RowOrder))
def test_round_trip_over_several_shards(tmp_path: Path, codec: CodecName, order: RowOrder) -> None:
    label_set, labels = make_label_set(
        tmp_path,
        codec,
        num_samples=3000,
        num_seeds=9,
        num_classes=20,
        shard_bytes=100_000,
        row_order=order,
    )
    (segment,) = label_set.manifest.segments
    assert len(segment.codes.shards) > 1
    views = label_set.index().segments[0].views()
    assert len(views) == len(labels) == label_set.manifest.num_labels == 27_000

    rng = np.random.default_rng(0)
    for chosen in (np.arange(len(views)), rng.integers(len(views), size=500), np.arange(0)):
        rows = label_set.gather(views[chosen])
        assert rows.shape == (len(chosen), segment.codes.stride)
        assert_decoded(label_set.codec(), label_set.codec().decode(rows), labels[chosen])


def test_the_bytes_do_not_depend_on_how_the_rows_came(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(256, size=(50_000, 7), dtype=np.uint8)
    sections = []
    for number, size in enumerate((1, 999, 50_000)):
        writer = LabelSetDirectoryWriter(tmp_path / str(number), shard_bytes=100_000)
        step = max(size, 10)
        blocks = (rows[start : start + step] for start in range(0, len(rows), step))
        sections.append(writer.add_rows(7, blocks))
    assert sections[0] == sections[1] == sections[2]
    (first, *_) = sections
    assert len(first.shards) == 6
    assert all(shard.data.size <= 100_000 for shard in first.shards)
    assert first.rows == 50_000


def test_strided_rows_are_written_as_they_read(tmp_path: Path) -> None:
    writer = LabelSetDirectoryWriter(tmp_path)
    wide = np.arange(80, dtype=np.uint8).reshape(10, 8)
    straight = writer.add_rows(4, [np.ascontiguousarray(wide[:, ::2])])
    assert writer.add_rows(4, [wide[:, ::2]]) == straight


def test_a_section_needs_rows(tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        LabelSetDirectoryWriter(tmp_path).add_rows(4, [])


def test_a_directory_without_a_manifest_is_unfinished(tmp_path: Path) -> None:
    LabelSetDirectoryWriter(tmp_path).add_blob(b"content")
    with pytest.raises(ManifestError, match="no finished label set"):
        LabelSetDirectory(tmp_path)


def test_no_half_file_is_left(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    blobs = {ref.digest.replace(":", "-") for ref in label_set.manifest.blobs().values()}
    assert {entry.name for entry in (tmp_path / "blobs").iterdir()} == blobs
    assert {entry.name for entry in tmp_path.iterdir()} == {"blobs", "manifest.json"}
    for ref in label_set.manifest.blobs().values():
        assert file_digest(blob_path(tmp_path, ref.digest)) == ref.digest


def test_a_large_or_damaged_manifest_is_refused(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    path = tmp_path / "manifest.json"
    with path.open("ab") as stream:
        stream.truncate(16 * 2**20 + 1)
    with pytest.raises(ManifestError, match="too large"):
        LabelSetDirectory(tmp_path)
    path.write_bytes(label_set.manifest.to_bytes()[:-1])
    with pytest.raises(ManifestError) as caught:
        LabelSetDirectory(tmp_path)
    assert caught.value.message.startswith(f"{path}: ")
    assert caught.value.message.endswith("; encode or pull the label set again")


def read_everything(label_set: LabelSetDirectory) -> None:
    label_set.codec()
    for segment in label_set.manifest.segments:
        if segment.hard_labels is not None:
            label_set.column(segment.hard_labels, "<u4")
    label_set.gather(label_set.index().segments[0].views())


@pytest.mark.parametrize("damage", ["flip", "shorten", "lengthen", "remove"])
def test_every_damaged_blob_is_found(tmp_path: Path, damage: str) -> None:
    label_set, _ = make_label_set(
        tmp_path, "vqae", num_samples=9000, num_seeds=3, shard_bytes=70_000
    )
    (segment,) = label_set.manifest.segments
    # The index of a table is for those who read it in chunks; a directory is read whole.
    tables = [section for name, section in segment.sections().items() if name != "codes"]
    unread = {shard.index.digest for section in tables for shard in section.shards}
    for ref in label_set.manifest.blobs().values():
        path = label_set.path(ref)
        content = path.read_bytes()
        middle = len(content) // 2
        if damage == "flip":
            path.write_bytes(
                content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]
            )
        elif damage == "shorten":
            path.write_bytes(content[:-1])
        elif damage == "lengthen":
            path.write_bytes(content + b"\0")
        else:
            path.unlink()
        expected: tuple[type[LabelcastError], ...] = (
            (DigestMismatchError, ChecksumMismatchError)
            if damage == "flip"
            else (BlobNotFoundError,)
        )
        if ref.digest not in unread:
            with pytest.raises(expected, match="encode or pull the label set again") as caught:
                read_everything(LabelSetDirectory(tmp_path))
            assert path.name in str(caught.value)
        path.write_bytes(content)
    read_everything(LabelSetDirectory(tmp_path))


def test_only_the_damaged_chunk_is_refused(tmp_path: Path) -> None:
    label_set, labels = make_label_set(tmp_path, num_samples=8000, num_seeds=2)
    (segment,) = label_set.manifest.segments
    (shard,) = segment.codes.shards
    path = label_set.path(shard.data)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    damaged = LabelSetDirectory(tmp_path)
    views = damaged.index().segments[0].views()
    after = slice(segment.codes.rows_per_chunk, None)
    rows = damaged.gather(views[after])
    assert np.array_equal(damaged.codec().decode(rows), labels[after])
    with pytest.raises(ChecksumMismatchError) as caught:
        damaged.gather(views[:1])
    assert caught.value.facts == {"digest": shard.data.digest, "chunk": "0"}


def test_several_segments(tmp_path: Path) -> None:
    first, labels = make_label_set(tmp_path, num_samples=10, num_seeds=2)
    writer = LabelSetDirectoryWriter(tmp_path)
    (segment,) = first.manifest.segments
    later = replace(segment, seeds=writer.add_column([100, 200], "<u4"))
    writer.finish(replace(first.manifest, segments=(segment, later)))
    label_set = LabelSetDirectory(tmp_path)
    assert label_set.manifest.num_labels == 40
    sample_ids = label_set.index().segments[0].sample_ids
    views = Views.of(np.repeat(sample_ids, 2), np.tile([200, 0], 10))
    rows = label_set.gather(views)
    decoded = label_set.codec().decode(rows)
    assert np.array_equal(decoded[0::2], labels[10:])
    assert np.array_equal(decoded[1::2], labels[:10])
    with pytest.raises(ViewNotFoundError):
        label_set.gather(Views.of(sample_ids, 101))


def test_the_same_arguments_give_the_same_label_set(tmp_path: Path) -> None:
    first, _ = make_label_set(tmp_path / "a", "topk", seed=3)
    second, _ = make_label_set(tmp_path / "b", "topk", seed=3)
    other, _ = make_label_set(tmp_path / "c", "topk", seed=4)
    assert first.digest == second.digest == digest_of((tmp_path / "a/manifest.json").read_bytes())
    assert other.digest != first.digest


def test_a_shard_that_is_cut_or_overwritten_between_two_batches(tmp_path: Path) -> None:
    label_set, labels = make_label_set(tmp_path, num_samples=8000, num_seeds=2)
    views = label_set.index().segments[0].views()
    codec = label_set.codec()
    assert np.array_equal(codec.decode(label_set.gather(views)), labels)
    (shard,) = label_set.manifest.segments[0].codes.shards
    path = label_set.path(shard.data)
    content = path.read_bytes()
    # A read beyond the end of a mapped file would end this process.
    os.truncate(path, 100)
    with pytest.raises(BlobNotFoundError, match="missing or incomplete"):
        label_set.gather(views)
    path.write_bytes(b"\1" + content[1:])
    with pytest.raises(ChecksumMismatchError):
        label_set.gather(views[:1])
    path.write_bytes(content)
    assert np.array_equal(codec.decode(label_set.gather(views)), labels)
