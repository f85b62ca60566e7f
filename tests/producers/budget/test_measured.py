"""What is measured is what lies on disk."""

from pathlib import Path

import pytest

from labelcast.cli.description import Sizes
from labelcast.codec import VqaeCodec
from labelcast.errors import BlobNotFoundError, ManifestError
from labelcast_producers.budget import Codes, Samples, Setting, budget_of, measure
from labelcast_producers.budget.published import ours_container
from tests.factories.label_sets import CodecName, make_label_set
from tests.factories.state_sets import WIDTH, States


def size_on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("codec", ["raw", "topk", "vqae"])
@pytest.mark.parametrize("shard_bytes", [2**25, 70_000])
def test_the_split_is_the_files(tmp_path: Path, codec: CodecName, shard_bytes: int) -> None:
    label_set, _ = make_label_set(
        tmp_path, codec, num_samples=5_000, report={"kl": 0.1}, shard_bytes=shard_bytes
    )
    measured, segment = measure(tmp_path), label_set.manifest.segments[0]
    assert measured.total_bytes == size_on_disk(tmp_path) == sum(measured.parts.values())
    assert measured.report_bytes == len(b'{"kl":0.1}')
    assert measured.payload_bytes == 15_000 * segment.codes.stride
    assert measured.codec_bytes == label_set.manifest.codec.size
    assert measured.augmentation_bytes == 0
    assert measured.labels == 15_000
    assert measured.samples == 5_000


def test_a_blob_that_serves_twice_is_counted_once(tmp_path: Path) -> None:
    # Samples and hard labels are as many as seeds here, so that some columns may be the same bytes.
    make_label_set(tmp_path, num_samples=1, num_seeds=1, num_classes=2)
    assert measure(tmp_path).total_bytes == size_on_disk(tmp_path)
    assert measure(tmp_path).payload_bytes == 4


def test_totals_spread_what_does_not_grow(tmp_path: Path) -> None:
    make_label_set(tmp_path, "vqae", num_samples=100, report={"kl": 0.1})
    measured = measure(tmp_path)
    at = measured.total_at
    assert measured.total_here > at[10**6] > at[10**7] > at[10**8] > measured.payload_bytes / 300
    fixed = measured.codec_bytes + measured.report_bytes + measured.manifest_bytes
    assert at[10**6] * 10**6 - fixed == pytest.approx(
        (measured.total_bytes - fixed) / measured.labels * 10**6
    )


@pytest.mark.parametrize("report", [None, {"kl": 0.1}])
def test_info_and_budget_count_alike(tmp_path: Path, report: dict[str, float] | None) -> None:
    label_set, _ = make_label_set(tmp_path, "vqae", num_samples=100, report=report)
    told, measured = Sizes.of(label_set.manifest), measure(tmp_path)
    assert told.payload == measured.payload_bytes / measured.labels
    assert told.total == measured.total_here
    assert told.total_at == pytest.approx(measured.total_at, rel=1e-12)
    # What is fixed is spread thinner and thinner.
    fixed = measured.codec_bytes + measured.report_bytes + measured.manifest_bytes
    growing = (size_on_disk(tmp_path) - fixed) / 300
    assert told.total_at[10**8] == pytest.approx(growing + fixed / 10**8, rel=1e-12)


def test_a_head_is_counted_and_does_not_grow(tmp_path: Path) -> None:
    manifest = States.make(1000).write(tmp_path, shipped=True).manifest
    told, measured = Sizes.of(manifest), measure(tmp_path)
    assert measured.total_bytes == size_on_disk(tmp_path)
    assert measured.codec_bytes == manifest.codec.size + 1000 * 2 * WIDTH + 4
    assert told.total == measured.total_here
    assert told.total_at == pytest.approx(measured.total_at, rel=1e-12)
    # Of 16 labels, the head would be 1,500 bytes a label wherever it grew with them.
    assert told.total_at[10**8] < 100


def test_the_formula_foretells_the_container(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path, "vqae", num_samples=3_000, num_seeds=20)
    codec = label_set.codec()
    assert isinstance(codec, VqaeCodec)
    form = Codes(codec.shape.codes, codec.shape.codebook_size)
    samples = Samples(classes=10, images_per_class=300, bits_a_sample=0)
    container = ours_container(form, samples.classes, views=20)
    foretold = budget_of(
        Setting(name="", samples=samples, views=20, form=form, container=container)
    )
    measured = measure(tmp_path)
    assert foretold.payload_bits == 8 * measured.payload_bytes
    assert foretold.container_bits / 8 == pytest.approx(measured.container_bytes, rel=0.01)


def test_damage_is_refused(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    label_set.path(label_set.manifest.codec).unlink()
    with pytest.raises(BlobNotFoundError):
        measure(tmp_path)
    with pytest.raises(ManifestError):
        measure(tmp_path / "blobs")
