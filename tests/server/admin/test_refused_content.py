"""Label sets whose bytes are not what they claim: refused whole, nothing published."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from labelcast.errors import (
    ChecksumMismatchError,
    CodeRangeError,
    LabelcastError,
    LabelValueError,
    ManifestError,
)
from labelcast.identifiers import digest_from_hash
from labelcast.label_set import BlobRef, Manifest, digest_of
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from labelcast.registry.client import Registry
from tests.factories.label_sets import (
    CodecName,
    make_codec,
    make_label_set,
    make_rows,
    write_label_set,
)


def flip_a_bit_of_a_shard(directory: Path) -> LabelSetDirectory:
    label_set, _ = make_label_set(directory)
    manifest, (segment,) = label_set.manifest, label_set.manifest.segments
    (shard,) = segment.codes.shards
    content = bytearray(label_set.read_blob(shard.data))
    content[len(content) // 2] ^= 4
    writer = LabelSetDirectoryWriter(directory)
    changed = replace(shard, data=writer.add_blob(bytes(content)))
    codes = replace(segment.codes, shards=(changed,))
    writer.finish(replace(manifest, segments=(replace(segment, codes=codes),)))
    return LabelSetDirectory(directory)


def damaged_rows(directory: Path, codec: CodecName, damage: bytes) -> LabelSetDirectory:
    made = make_codec(codec, 10, np.random.default_rng(0))
    rows = make_rows(made, 40, np.random.default_rng(1))
    golden = rows[:4].copy()
    rows[-1, : len(damage)] = np.frombuffer(damage, np.uint8)
    return write_label_set(directory, made, rows, num_samples=20, num_seeds=2, golden_rows=golden)


def codes_beyond_the_codebook(directory: Path) -> LabelSetDirectory:
    # The first code has 7 bits; the codebook has 100 codewords.
    return damaged_rows(directory, "vqae", b"\x7f")


def not_a_number(directory: Path) -> LabelSetDirectory:
    return damaged_rows(directory, "raw", np.float16("nan").tobytes())


def other_class_count(directory: Path) -> LabelSetDirectory:
    return make_label_set(directory, contract_classes=11)[0]


def hard_labels_beyond_the_classes(directory: Path) -> LabelSetDirectory:
    return make_label_set(directory, hard_label_bound=11)[0]


def seeds_out_of_order(directory: Path) -> LabelSetDirectory:
    label_set, _ = make_label_set(directory)
    writer = LabelSetDirectoryWriter(directory)
    seeds = writer.add_column([5, 3, 4], "<u4")
    (segment,) = label_set.manifest.segments
    writer.finish(replace(label_set.manifest, segments=(replace(segment, seeds=seeds),)))
    return LabelSetDirectory(directory)


def one_view_twice(directory: Path) -> LabelSetDirectory:
    label_set, _ = make_label_set(directory)
    LabelSetDirectoryWriter(directory).finish(
        replace(label_set.manifest, segments=label_set.manifest.segments * 2)
    )
    return LabelSetDirectory(directory)


def report_that_is_no_object(directory: Path) -> LabelSetDirectory:
    label_set, _ = make_label_set(directory)
    writer = LabelSetDirectoryWriter(directory)
    writer.finish(replace(label_set.manifest, report=writer.add_blob(b"[1,2]")))
    return LabelSetDirectory(directory)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (flip_a_bit_of_a_shard, ChecksumMismatchError),
        (codes_beyond_the_codebook, CodeRangeError),
        (not_a_number, LabelValueError),
        (other_class_count, ManifestError),
        (hard_labels_beyond_the_classes, ManifestError),
        (seeds_out_of_order, ManifestError),
        (one_view_twice, ManifestError),
        (report_that_is_no_object, ManifestError),
    ],
)
def test_wrong_content_is_refused_and_nothing_is_published(
    registry: Registry,
    tmp_path: Path,
    make: Callable[[Path], LabelSetDirectory],
    error: type[LabelcastError],
) -> None:
    with pytest.raises(error):
        registry.push(make(tmp_path), "glyphs:v1")
    assert registry.list() == []


@pytest.fixture
def pushed(registry: Registry, tmp_path: Path) -> LabelSetDirectory:
    label_set, _ = make_label_set(tmp_path / "pushed", num_samples=4)
    registry.push(label_set, "good")
    return label_set


def put(http: httpx.Client, content: bytes, digest: str | None = None) -> httpx.Response:
    return http.put(
        f"/v1/label-sets/{digest or digest_of(content)}",
        content=content,
        headers={"Content-Type": "application/json"},
    )


def test_manifest_under_another_digest(http: httpx.Client, pushed: LabelSetDirectory) -> None:
    content = pushed.manifest.to_bytes()
    answer = put(http, content[:-1] + b" ", pushed.digest)
    assert (answer.status_code, answer.json()["reason"]) == (422, "digest_mismatch")


def test_truncated_manifest(http: httpx.Client, pushed: LabelSetDirectory) -> None:
    content = pushed.manifest.to_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        answer = put(http, content[:length])
        assert (answer.status_code, answer.json()["reason"]) == (422, "manifest")


def test_manifest_naming_a_blob_that_is_not_there(
    http: httpx.Client, pushed: LabelSetDirectory
) -> None:
    absent = BlobRef(digest_from_hash(bytes(32)), 17)
    answer = put(http, replace(pushed.manifest, report=absent).to_bytes())
    assert (answer.status_code, answer.json()["reason"]) == (422, "manifest")
    assert answer.json()["facts"] == {"blob": absent.digest}


def test_manifest_with_a_wrong_size(http: httpx.Client, pushed: LabelSetDirectory) -> None:
    codec = replace(pushed.manifest.codec, size=pushed.manifest.codec.size + 1)
    answer = put(http, replace(pushed.manifest, codec=codec).to_bytes())
    assert (answer.status_code, answer.json()["reason"]) == (422, "manifest")


def test_manifest_naming_another_blob_as_codec(
    http: httpx.Client, pushed: LabelSetDirectory
) -> None:
    wrong = pushed.manifest.segments[0].sample_ids.shards[0].data
    manifest = pushed.manifest
    content = replace(
        manifest, codec=wrong, contract=replace(manifest.contract, codec=wrong.digest)
    ).to_bytes()
    answer = put(http, content)
    assert (answer.status_code, answer.json()["reason"]) == (422, "codec_format")


def test_manifests_are_limited_while_they_come(http: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(17):
            yield bytes(2**20)

    answer = http.put(
        "/v1/label-sets/sha256:" + "0" * 64,
        content=endless(),
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_request")
    assert "too large" in answer.json()["message"]


def test_staging_again_changes_nothing(http: httpx.Client, pushed: LabelSetDirectory) -> None:
    answer = put(http, pushed.manifest.to_bytes())
    assert answer.status_code == 201
    assert answer.json() == {"digest": pushed.digest, "state": "published"}
    assert Manifest.from_bytes(pushed.manifest.to_bytes()).digest == pushed.digest
