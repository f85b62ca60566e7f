"""Every form of every codec's labels, over the wire, against the numpy reference."""

import concurrent.futures
from pathlib import Path

import numpy as np
import pytest

from labelcast import Representation, Views
from labelcast.codec import Precision
from labelcast.errors import LabelValueError
from tests.e2e.conftest import CODECS
from tests.e2e.label_sets import (
    REPRESENTATIONS,
    KnownLabelSet,
    identity_label_set,
    known_label_set,
)
from tests.e2e.running_service import RunningService
from tests.factories.decoded import assert_decoded, assert_same_labels
from tests.factories.label_sets import write_label_set

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("form", REPRESENTATIONS)
@pytest.mark.parametrize("codec", CODECS)
def test_random_views_in_every_form(
    service: RunningService, label_sets: dict[str, KnownLabelSet], codec: str, form: str
) -> None:
    known, representation = label_sets[codec], REPRESENTATIONS[form]
    if not known.allows(representation):
        pytest.skip("probabilities have no logits")
    # Drawn with repeats, so that one batch asks for some views twice.
    at = np.random.default_rng(1).integers(len(known.views), size=1000)
    with service.client() as client:
        label_set = client.open(codec)
        known.check(client.labels(label_set, known.views[at], representation), at, representation)
        done = 0
        for batch in client.stream(label_set, known.views[at].batches(64), representation):
            known.check(batch, at[done : done + len(batch.rows)], representation)
            done += len(batch.rows)
    assert done == len(at)


async def test_async_client_in_every_form(
    service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    async with service.async_client() as client:
        for codec, known in label_sets.items():
            label_set = await client.open(codec)
            at = np.random.default_rng(2).integers(len(known.views), size=500)
            for representation in filter(known.allows, REPRESENTATIONS.values()):
                whole = await client.labels(label_set, known.views[at], representation)
                known.check(whole, at, representation)
                done = 0
                async for batch in client.stream(
                    label_set, known.views[at].batches(77), representation
                ):
                    known.check(batch, at[done : done + len(batch.rows)], representation)
                    done += len(batch.rows)
                assert done == len(at)


@pytest.mark.parametrize("temperature", [1.0, 1.7, 4.0])
def test_softmax_temperatures(
    service: RunningService, label_sets: dict[str, KnownLabelSet], temperature: float
) -> None:
    known, at = label_sets["vqae"], np.arange(200)
    with service.client() as client:
        label_set = client.open("vqae")
        for representation in (
            Representation.probabilities(temperature, Precision.FP32),
            Representation.top_k(3, temperature),
        ):
            known.check(
                client.labels(label_set, known.views[at], representation), at, representation
            )


def test_local_decoding_gives_what_the_service_decodes(
    service: RunningService, label_sets: dict[str, KnownLabelSet], tmp_path: Path
) -> None:
    with service.client(cache_directory=tmp_path, fetch_shards="never") as client:
        for name, known in label_sets.items():
            label_set = client.open(name)
            codes = client.labels(label_set, known.views, Representation.codes())
            decoded = label_set.decoder().decode(codes.rows, codes.views)
            assert_decoded(known.codec, decoded, known.labels)
    # Of each the codec; of the one with a conditioned codec, its three tables as well.
    assert len(list(tmp_path.glob("sha256-*"))) == len(label_sets) + 3
    # A second run finds the codecs on disk and decodes the same.
    with service.client(cache_directory=tmp_path) as client:
        label_set, known = client.open("vqae-context"), label_sets["vqae-context"]
        before = client.wire_bytes.received
        assert_same_labels(label_set.decoder().decode(known.rows, known.views), known.labels)
        assert client.wire_bytes.received == before


def test_labels_do_not_depend_on_their_batch(
    service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    known, logits = label_sets["vqae"], Representation.logits(Precision.FP32)
    at = np.random.default_rng(3).permutation(len(known.views))[:240]
    with service.client() as client:
        label_set = client.open("vqae")
        for size in (1, 7, 240):
            batches = list(client.stream(label_set, known.views[at].batches(size), logits))
            assert [len(batch.rows) for batch in batches] == [
                min(size, 240 - start) for start in range(0, 240, size)
            ]
            got = np.concatenate([batch.values for batch in batches])
            assert_same_labels(got, known.labels[at])


@pytest.mark.parametrize("form", ["codes", "logits-fp16", "top-5"])
@pytest.mark.parametrize("batch_rows", [100, 5000])
def test_streams_of_many_messages(
    service: RunningService, tmp_path: Path, form: str, batch_rows: int
) -> None:
    known = known_label_set(
        tmp_path, "vqae", num_samples=2000, num_seeds=6, num_classes=400, seed=11
    )
    service.push(known.on_disk, "large")
    at = np.random.default_rng(4).permutation(len(known.views))
    representation, done = REPRESENTATIONS[form], 0
    with service.client() as client:
        for batch in client.stream(
            client.open("large"), known.views[at].batches(batch_rows), representation
        ):
            known.check(batch, at[done : done + len(batch.rows)], representation)
            done += len(batch.rows)
    assert done == len(at)


async def test_async_stream_with_a_wide_window(service: RunningService, tmp_path: Path) -> None:
    """Requests outweigh HTTP/2's window, and so do replies: neither side may wait for the other."""
    known, logits = identity_label_set(tmp_path, 9), Representation.logits()
    service.push(known.on_disk, "identity:9")
    at, done = np.random.default_rng(5).integers(len(known.views), size=600_000), 0
    async with service.async_client(rows_in_flight=len(at)) as client:
        label_set = await client.open("identity:9")
        async for batch in client.stream(label_set, known.views[at].batches(2000), logits):
            known.check(batch, at[done : done + len(batch.rows)], logits)
            done += len(batch.rows)
    assert done == len(at)


def test_clients_at_once_never_mix_labels(service: RunningService, tmp_path: Path) -> None:
    sets = {
        f"identity:{number}": identity_label_set(tmp_path / str(number), number)
        for number in range(1, 5)
    }
    for tag, known in sets.items():
        service.push(known.on_disk, tag)

    def read(job: int) -> int:
        tag = f"identity:{job % 4 + 1}"
        known = sets[tag]
        at = np.random.default_rng(job).integers(len(known.views), size=20_000)
        representation = list(REPRESENTATIONS.values())[job % 3]
        done = 0
        with service.client(rows_in_flight=3000) as client:
            label_set = client.open(tag)
            for batch in client.stream(label_set, known.views[at].batches(333), representation):
                known.check(batch, at[done : done + len(batch.rows)], representation)
                done += len(batch.rows)
        return done

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert list(pool.map(read, range(12))) == [20_000] * 12


def test_one_client_shared_by_threads(
    service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    with service.client() as client, concurrent.futures.ThreadPoolExecutor(6) as pool:

        def read(job: int) -> None:
            name = CODECS[job % len(CODECS)]
            known, codes = label_sets[name], Representation.codes()
            at = np.random.default_rng(job).integers(len(known.views), size=300)
            label_set = client.open(name)
            known.check(client.labels(label_set, known.views[at], codes), at, codes)

        list(pool.map(read, range(30)))


def test_every_label_of_a_set_as_it_lies(
    service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    known, codes = label_sets["raw"], Representation.codes()
    with service.client() as client:
        got = client.labels(client.open("raw"), known.views, codes)
    assert got.rows.tobytes() == known.rows.tobytes()


def test_labels_too_large_for_fp16_are_refused_in_fp16_only(
    service: RunningService, tmp_path: Path
) -> None:
    known = known_label_set(tmp_path, "raw-fp32", num_samples=8, num_seeds=1, num_classes=4)
    loud = known.labels.copy()
    loud[3, 2] = 1e6
    on_disk = write_label_set(
        tmp_path / "loud",
        known.codec,
        loud.view(np.uint8).reshape(8, -1),
        num_samples=8,
        num_seeds=1,
    )
    service.push(on_disk, "loud")
    with service.client() as client:
        label_set = client.open("loud")
        full = client.labels(label_set, known.views, Representation.logits(Precision.FP32))
        np.testing.assert_array_equal(full.values, loud)
        quiet = client.labels(label_set, known.views[:3], Representation.logits())
        np.testing.assert_array_equal(quiet.values, loud[:3].astype("<f2"))
        with pytest.raises(LabelValueError, match="ask for fp32"):
            client.labels(label_set, known.views, Representation.logits())


def test_empty_stream(service: RunningService, label_sets: dict[str, KnownLabelSet]) -> None:
    assert label_sets
    nothing: list[Views] = []
    with service.client() as client:
        assert list(client.stream(client.open("raw"), nothing, Representation.codes())) == []
