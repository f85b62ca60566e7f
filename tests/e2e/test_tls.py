"""Labels and the admin API over TLS, between processes."""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from labelcast import Representation
from labelcast_glyphs.certificates import Authority, options_of
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService, running_service
from tests.e2e.sequences import by_sequence, known_sequences

STREAMING = """
import pickle, sys
import numpy as np
from labelcast import Representation
client, reference, views = pickle.load(sys.stdin.buffer)
with client:
    opened = client.open(reference)
    batches = [views[start : start + 7] for start in range(0, len(views), 7)]
    rows = [each.rows for each in client.stream(opened, batches, Representation.codes())]
sys.stdout.buffer.write(np.concatenate(rows).tobytes())
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A service with two workers that speaks TLS; do not kill anything of it."""
    options = ("--workers", "2", *options_of(authority.issue("service")))
    with running_service(tmp_path_factory.mktemp("encrypted"), *options) as started:
        yield started


@pytest.fixture(scope="module")
def known(
    encrypted: RunningService, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> KnownLabelSet:
    made = known_label_set(tmp_path_factory.mktemp("known"), "vqae")
    with encrypted.registry(tls=authority.trusted()) as registry:
        registry.push(made.on_disk, "known")
    return made


def test_another_process_streams_labels(
    encrypted: RunningService, authority: Authority, known: KnownLabelSet
) -> None:
    client = encrypted.client(tls=authority.trusted())
    answer = subprocess.run(
        [sys.executable, "-c", STREAMING],
        input=pickle.dumps((client, "known", known.views)),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    rows = np.frombuffer(answer.stdout[-known.rows.nbytes :], known.rows.dtype)
    np.testing.assert_array_equal(rows.reshape(known.rows.shape), known.rows)


def test_sequences_are_read_by_spans_and_by_plan(
    encrypted: RunningService, authority: Authority, tmp_path: Path
) -> None:
    sequences = known_sequences(tmp_path)
    with encrypted.registry(tls=authority.trusted()) as registry:
        registry.push(sequences.on_disk, "sequences")
    plan = sequences.on_disk.sequence_plan(epochs=2, order_key=4)
    with encrypted.client(tls=authority.trusted()) as client:
        label_set = client.open("sequences")
        for batches, count in (
            (by_sequence(sequences.views), len(sequences.views)),
            (plan.batches(sequences=8), len(plan)),
        ):
            seen = 0
            for batch in label_set.stream(batches, Representation.codes()):
                at, _ = sequences.on_disk.index().segments[0].rows(batch.views)
                sequences.check(batch, at, Representation.codes())
                seen += len(batch.views)
            assert seen == count


async def test_an_asynchronous_client_reads(
    encrypted: RunningService, authority: Authority, known: KnownLabelSet
) -> None:
    async with encrypted.async_client(tls=authority.trusted()) as client:
        opened = await client.open("known")
        some = np.arange(5)
        got = await client.labels(opened, known.views[some], Representation.codes())
    known.check(got, some, Representation.codes())


def test_the_admin_api_says_https_and_lists(
    encrypted: RunningService, authority: Authority, known: KnownLabelSet
) -> None:
    assert encrypted.admin.startswith("https://127.0.0.1:")
    with encrypted.registry(tls=authority.trusted()) as registry:
        assert known.on_disk.digest in [each.digest for each in registry.list()]
