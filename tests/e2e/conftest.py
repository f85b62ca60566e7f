"""One running service for all tests that leave it as it was."""

from collections.abc import Iterator

import grpc
import pytest

from labelcast import LabelClient
from labelcast.v2 import labels_pb2_grpc
from tests.e2e.guarded_service import Guarded, guarded_service
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService, running_service

CODECS = ("raw", "raw-fp32", "raw-probabilities", "topk", "vqae", "vqae-context")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with two I/O workers; do not kill anything of it."""
    with running_service(tmp_path_factory.mktemp("service"), "--workers", "2") as started:
        yield started


@pytest.fixture(scope="session")
def label_sets(
    service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, KnownLabelSet]:
    """One label set for each codec, pushed under its name."""
    directory = tmp_path_factory.mktemp("label-sets")
    made = {name: known_label_set(directory / name, name, shard_bytes=20_000) for name in CODECS}
    for name, known in made.items():
        service.push(known.on_disk, name)
    return made


@pytest.fixture(scope="session")
def kept(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> KnownLabelSet:
    """A label set of 20,000 labels in codes of 80 bytes, in 6 shards."""
    made = known_label_set(
        tmp_path_factory.mktemp("kept"), "raw", num_samples=5000, shard_bytes=300_000
    )
    service.push(made.on_disk, "kept")
    return made


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A service that asks clients for certificates; each test has another one shown."""
    with guarded_service(tmp_path_factory.mktemp("guarded")) as started:
        yield started


@pytest.fixture(scope="module")
def client(service: RunningService, label_sets: dict[str, KnownLabelSet]) -> Iterator[LabelClient]:
    assert label_sets
    with service.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def stub(service: RunningService) -> Iterator[labels_pb2_grpc.LabelServiceStub]:
    with grpc.insecure_channel(service.grpc) as channel:
        yield labels_pb2_grpc.LabelServiceStub(channel)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with one worker, whose parts may be killed and stopped."""
    with running_service(tmp_path_factory.mktemp("fragile")) as service:
        yield service


@pytest.fixture(autouse=True)
def begins_with_every_part_back(request: pytest.FixtureRequest) -> None:
    """What a test killed may take longer to start than the client of the next one waits."""
    if "fragile" in request.fixturenames:
        request.getfixturevalue("fragile").processes()


@pytest.fixture(scope="module")
def dense(fragile: RunningService, tmp_path_factory: pytest.TempPathFactory) -> KnownLabelSet:
    known = known_label_set(
        tmp_path_factory.mktemp("dense"), "vqae", num_samples=1500, num_seeds=4, num_classes=500
    )
    fragile.push(known.on_disk, "dense")
    return known
