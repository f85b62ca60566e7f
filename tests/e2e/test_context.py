"""Labels of a conditioned codec: the service and the edge decode them alike, or not at all."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelcast import UNCHECKED, AsyncLabelClient, LabelClient, Representation
from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of
from labelcast.codec import TOLERANCES, Labels, Precision
from labelcast.errors import (
    CodecFormatError,
    DigestMismatchError,
    ManifestError,
    MisalignedLabelsError,
)
from labelcast.label_set import ContextRef, Section, ViewIndex, digest_of
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from labelcast.torch import LabelSetSource, SoftLabelLoader
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.encoding.label_set_writer import write_label_set
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService, running_service
from tests.factories.fitted import NUM_CLASSES, POLICY, SEEDS, fit_file, write_mixed
from tests.factories.label_sets import context_of

pytestmark = pytest.mark.e2e

NAME = "vqae-context"
CODES, LOGITS = Representation.codes(), Representation.logits(Precision.FP32)


def assert_same(given: Labels, expected: Labels, precision: Precision = Precision.FP32) -> None:
    assert given.shape == expected.shape
    assert TOLERANCES[precision].accepts(given.astype(np.float32), expected)


def orders(count: int) -> list[NDArray[np.int64]]:
    """As stored, backwards, shuffled, and with repeats."""
    rng = np.random.default_rng(0)
    whole = np.arange(count)
    return [whole, whole[::-1], rng.permutation(count), rng.integers(count, size=count)]


def test_service_numpy_and_torch_decode_alike_in_any_order(
    client: LabelClient, label_sets: dict[str, KnownLabelSet]
) -> None:
    known, label_set = label_sets[NAME], client.open(NAME)
    decoder = label_set.decoder()
    assert label_set.contract.context is not None
    local = LabelSetSource(label_set, CODES)
    for size, at in zip((64, 7, 500, 1200), orders(len(known.views)), strict=True):
        views = known.views[at]
        delivered = client.labels(label_set, views, LOGITS).values
        assert_same(delivered, known.labels[at])
        streamed = [batch.values for batch in client.stream(label_set, views.batches(size), LOGITS)]
        assert_same(np.concatenate(streamed), known.labels[at])
        codes = [batch.rows for batch in client.stream(label_set, views.batches(size), CODES)]
        assert_same(decoder.decode(np.concatenate(codes), views), delivered)
        tensors = list(local.labels(views.batches(size)))
        assert_same(torch.cat(tensors).numpy(), delivered)
    half = client.labels(label_set, known.views, Representation.logits()).values
    assert_same(half, known.labels, Precision.FP16)


async def test_the_async_client_decodes_alike(
    service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    known = label_sets[NAME]
    async with service.async_client() as client:
        label_set = await client.open(NAME)
        decoder = await label_set.decoder()
        assert await label_set.context() is decoder.context
        for at in orders(len(known.views)):
            views, done = known.views[at], 0
            async for batch in client.stream(label_set, views.batches(77), CODES):
                decoded = decoder.decode(batch.rows, batch.views)
                assert_same(decoded, known.labels[at[done : done + len(decoded)]])
                done += len(decoded)
            assert done == len(at)
            delivered = await client.labels(label_set, views, LOGITS)
            assert_same(delivered.values, known.labels[at])


def test_other_label_sets_have_no_context(
    client: LabelClient, label_sets: dict[str, KnownLabelSet]
) -> None:
    for name in sorted(set(label_sets) - {NAME}):
        assert client.open(name).context() is None
    with pytest.raises(CodecFormatError, match=r"label_set\.decoder\(\)"):
        client.open(NAME).codec().decode(label_sets[NAME].rows)


def test_the_context_is_fetched_once_and_costs_no_bits_a_label(
    service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    known = label_sets[NAME]
    with service.client() as client:
        label_set = client.open(NAME)
        before = client.wire_bytes.received
        first = label_set.decoder()
        # Two tables: eight bytes a sample and four.
        assert client.wire_bytes.received - before > 12 * 300
        before = client.wire_bytes.received
        assert label_set.decoder().context is first.context
        assert client.wire_bytes.received == before
        codes = client.labels(label_set, known.views, CODES)
        assert codes.rows.shape[1] == label_set.code_stride == known.codec.row_stride
        np.testing.assert_array_equal(codes.rows, known.rows)


def test_pull_and_decode_give_the_same(
    service: RunningService,
    label_sets: dict[str, KnownLabelSet],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = label_sets[NAME]
    pull = ("pull", NAME, "--address", service.grpc, "--out", str(tmp_path / "local"))
    decode = ("decode", str(tmp_path / "local"), "--out", str(tmp_path / "labels.npy"))
    for arguments in (pull, decode):
        status = exit_code_of(app, name="labelcast", arguments=[*arguments])
        assert status == 0, capsys.readouterr().err
    views = np.load(tmp_path / "labels.views.npy")
    assert views["sample_id"].tolist() == known.views.sample_ids.tolist()
    assert views["seed"].tolist() == known.views.seeds.tolist()
    assert_same(np.load(tmp_path / "labels.npy"), known.labels, Precision.FP16)
    assert context_of(LabelSetDirectory(tmp_path / "local")) is not None


OTHER = ContextRef(digest_of(b"derived otherwise"))


@pytest.mark.parametrize(
    ("codec", "declared"), [(NAME, None), (NAME, OTHER), ("vqae", OTHER), ("raw", OTHER)]
)
def test_a_contract_that_misdeclares_its_context_is_not_published(
    service: RunningService, tmp_path: Path, codec: str, declared: ContextRef | None
) -> None:
    known = known_label_set(tmp_path, codec, num_samples=41, num_seeds=2, seed=9)
    manifest = known.on_disk.manifest
    LabelSetDirectoryWriter(tmp_path).finish(
        replace(manifest, contract=replace(manifest.contract, context=declared))
    )
    with pytest.raises(ManifestError, match="context"):
        service.push(LabelSetDirectory(tmp_path), "misdeclared")


def test_a_set_without_hard_labels_is_not_published(
    service: RunningService, tmp_path: Path
) -> None:
    manifest = known_label_set(tmp_path, NAME, num_samples=41, num_seeds=2).on_disk.manifest
    (segment,) = manifest.segments
    bare = replace(manifest, segments=(replace(segment, hard_labels=None),))
    LabelSetDirectoryWriter(tmp_path).finish(bare)
    with pytest.raises(ManifestError, match="needs hard labels"):
        service.push(LabelSetDirectory(tmp_path), "bare")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service of one worker: whatever it has read once, it has read for all clients."""
    with running_service(tmp_path_factory.mktemp("alone"), "--workers", "1") as started:
        yield started


@pytest.fixture(scope="module")
def delicate(alone: RunningService, tmp_path_factory: pytest.TempPathFactory) -> KnownLabelSet:
    known = known_label_set(tmp_path_factory.mktemp("set"), NAME, num_samples=37, num_seeds=3)
    alone.push(known.on_disk, "delicate")
    return known


def section_of(known: KnownLabelSet, table: str) -> Section:
    return known.on_disk.manifest.segments[0].sections()[table]


@pytest.mark.parametrize("table", ["sample_ids", "hard_labels"])
async def test_tables_that_come_damaged_are_refused(
    alone: RunningService, delicate: KnownLabelSet, table: str
) -> None:
    (shard,) = section_of(delicate, table).shards
    content = delicate.on_disk.read_blob(shard.data)
    with alone.raw_redis() as redis, alone.client() as client:
        label_set = client.open("delicate")
        # The service has read them; from here on only the client can notice.
        client.labels(label_set, delicate.views, LOGITS)
        key = next(k for k in redis.scan_iter("labelcast:{*:*}:*") if redis.get(k) == content)
        redis.setrange(key, 8, bytes([content[8] ^ 1]))
        with pytest.raises(DigestMismatchError):
            label_set.decoder()
        with pytest.raises(DigestMismatchError):
            list(LabelSetSource(label_set, CODES).labels([delicate.views]))
        async with AsyncLabelClient(alone.grpc) as other:
            damaged = await other.open("delicate")
            with pytest.raises(DigestMismatchError):
                await damaged.decoder()
        redis.set(key, content)
        decoder = label_set.decoder()
        assert_same(decoder.decode(delicate.rows, delicate.views), delicate.labels)


@pytest.mark.parametrize("table", ["sample_ids", "hard_labels"])
def test_a_damaged_cache_is_fetched_anew(
    alone: RunningService, delicate: KnownLabelSet, tmp_path: Path, table: str
) -> None:
    cache = tmp_path / "cache"
    with alone.client(cache_directory=cache) as client:
        client.open("delicate").decoder()
    (shard,) = section_of(delicate, table).shards
    path = cache / shard.data.digest.replace(":", "-")
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with alone.client(cache_directory=cache) as client:
        decoder = client.open("delicate").decoder()
    assert_same(decoder.decode(delicate.rows, delicate.views), delicate.labels)
    assert path.read_bytes() == content


class Blank(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images that nobody looks at, under given IDs and hard labels."""

    def __init__(self, dense: DenseLabels, hard_labels: NDArray[np.int64]) -> None:
        self.sample_ids = dense.index.sample_ids
        self.hard_labels = hard_labels
        self.class_names = [str(number) for number in range(dense.description.num_classes)]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(1, 16, 16), int(self.hard_labels[index])


@pytest.fixture(scope="module")
def fitted(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> DenseLabels:
    """What a fit with context has labelled, pushed as `fitted`."""
    directory = tmp_path_factory.mktemp("fitted")
    path = write_mixed(directory / "dense")
    codec = fit_file(path, directory / "codec", codes=1)
    dense = DenseLabels.open(path)
    on_disk = write_label_set(dense, codec.encoder, directory / "set", artifact=codec.artifact)
    service.push(on_disk, "fitted")
    return dense


@pytest.mark.parametrize("representation", [CODES, LOGITS], ids=["codes", "logits"])
def test_the_canary_knows_its_own_views_from_others(
    service: RunningService, fitted: DenseLabels, representation: Representation
) -> None:
    hard = fitted.hard_labels
    assert hard is not None
    teacher = fitted.rows.gather(np.arange(fitted.rows.num_rows)).argmax(axis=1)
    whole = ViewIndex([fitted.index])
    with service.client() as client:
        label_set = client.open("fitted")
        assert label_set.report["hard_label_agreement"] > 0.7
        source = LabelSetSource(label_set, representation)

        def loader(hard_labels: NDArray[np.int64]) -> SoftLabelLoader:
            return SoftLabelLoader(
                Blank(fitted, hard_labels),
                source,
                policy=POLICY,
                seeds=range(SEEDS),
                batch_size=32,
                fingerprints=UNCHECKED,  # the labels are of no images
            )

        seen = []
        for batch in loader(hard):
            _, rows = whole.locate(batch.views)
            seen.append(batch.labels.argmax(dim=1).numpy() == teacher[rows])
        assert len(np.concatenate(seen)) == len(teacher)
        assert np.concatenate(seen).mean() > 0.75
        with pytest.raises(MisalignedLabelsError):
            list(loader((hard + 1) % NUM_CLASSES))
