"""Tags, contracts, retirement, tokens, unsafe stores; what tools see of the service."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from labelcast import Expectation, LabelKind, RemoteLabelSet, Representation
from labelcast.codec import write_artifact
from labelcast.errors import (
    ContractMismatchError,
    LabelSetNotFoundError,
    LabelSetRetiredError,
    StoreUnsafeError,
    UnauthenticatedError,
)
from labelcast.label_set import policy_digest
from labelcast.registry.client import Registry
from tests.e2e.label_sets import KnownLabelSet, identity_label_set
from tests.e2e.running_service import RunningService, run_command, running_service
from tests.factories.label_sets import POLICY
from tests.factories.real_redis import running_redis

pytestmark = pytest.mark.e2e

CODES = Representation.codes()
OTHER = "sha256:" + "0" * 64


def test_contract_field_by_field(
    service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    contract = label_sets["vqae"].on_disk.manifest.contract
    right: dict[str, Any] = {
        "teacher": contract.teacher,
        "dataset": contract.dataset,
        "class_list": contract.class_list,
        "num_classes": 40,
        "augmentation": policy_digest(POLICY),
        "label_kind": LabelKind.LOGITS,
        "codec": contract.codec,
        "temperature": 2.0,
    }
    wrong = dict.fromkeys(right, OTHER) | {
        "num_classes": 41,
        "label_kind": LabelKind.PROBABILITIES,
        "temperature": 4.5,
    }
    with service.client() as client:
        client.open("vqae", expect=Expectation(**right))
        client.open("raw", expect=Expectation(temperature=99.0))
        for field in right:
            with pytest.raises(ContractMismatchError) as caught:
                client.open("vqae", expect=Expectation(**right | {field: wrong[field]}))
            assert caught.value.facts["field"] == field
            assert caught.value.facts["expected"] == str(wrong[field])


def test_tag_moves_and_a_pinned_run_does_not_notice(
    service: RunningService, tmp_path: Path
) -> None:
    first, second = (identity_label_set(tmp_path / str(n), n) for n in (21, 22))
    digest = service.push(first.on_disk, "moving")
    at = np.random.default_rng(0).permutation(len(first.views))
    with service.client(rows_in_flight=200) as client:
        pinned = client.open("moving")
        assert pinned.digest == digest == client.open(digest).digest
        stream = client.stream(pinned, first.views[at].batches(100), CODES)
        first.check(next(stream), at[:100], CODES)
        service.push(second.on_disk, "moving")
        done = 100
        for batch in stream:
            first.check(batch, at[done : done + 100], CODES)
            done += len(batch.rows)
        assert done == len(at)
        first.check(client.labels(pinned, first.views[at], CODES), at, CODES)
        moved = client.open("moving")
        assert moved.digest == second.on_disk.digest
        second.check(client.labels(moved, second.views[at], CODES), at, CODES)


def test_retired_label_sets_are_served_to_no_one(service: RunningService, tmp_path: Path) -> None:
    known = identity_label_set(tmp_path, 31)
    digest = service.push(known.on_disk, "passing")
    at = np.arange(len(known.views))
    with service.client(rows_in_flight=200) as client, service.registry() as registry:
        label_set = client.open("passing")
        stream = client.stream(label_set, known.views.batches(100), CODES)
        known.check(next(stream), at[:100], CODES)
        registry.retire("passing")
        with pytest.raises(LabelSetNotFoundError):
            client.open("passing")
        with pytest.raises(LabelSetRetiredError):
            client.open(digest)
        with pytest.raises(LabelSetRetiredError):
            client.labels(label_set, known.views[:3], CODES)
        with pytest.raises(LabelSetRetiredError):
            list(client.stream(label_set, [known.views[:3]], CODES))
        with pytest.raises(LabelSetRetiredError):
            label_set.codec()
        # A run that reads already may end.
        assert sum(len(batch.rows) for batch in stream) == len(at) - 100
        registry.tag("passing:again", digest)
        known.check(client.labels(label_set, known.views, CODES), at, CODES)
        client.open("passing:again")


def test_codec_comes_whole(service: RunningService, label_sets: dict[str, KnownLabelSet]) -> None:
    with service.client() as client:
        for name, known in label_sets.items():
            codec = client.open(name).codec()
            context = None if known.context is None else known.context[:8]
            artifact = write_artifact(codec, known.rows[:8], context)
            assert artifact == known.on_disk.read_blob(known.on_disk.manifest.codec)


def test_reflection_and_health(service: RunningService) -> None:
    with grpc.insecure_channel(service.grpc) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", "labelcast.v2.LabelService"):
            reply = health.Check(health_pb2.HealthCheckRequest(service=name))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="another"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        stubs: Any = reflection_pb2_grpc
        reflection = stubs.ServerReflectionStub(channel)
        (answer,) = reflection.ServerReflectionInfo(iter([question]))
        names = {entry.name for entry in answer.list_services_response.service}
        assert {"labelcast.v2.LabelService", "grpc.health.v1.Health"} <= names
    ended = run_command("health", "--address", service.grpc)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "serving\n", "")


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[RunningService, KnownLabelSet]]:
    directory = tmp_path_factory.mktemp("guarded")
    known = identity_label_set(directory / "on_disk", 41, num_samples=20)
    variables = {"LABELCAST_READ_TOKEN": "reading-word-4711"}
    with running_service(directory, environment=variables) as service:
        service.push(known.on_disk, "guarded")
        yield service, known
    assert "reading-word-4711" not in service.log()


def test_read_token(guarded: tuple[RunningService, KnownLabelSet]) -> None:
    service, known = guarded
    at = np.arange(5)
    for token in ("reading-word-4711", service.token()):
        with service.client(token=token) as client:
            label_set = client.open("guarded")
            known.check(client.labels(label_set, known.views[:5], CODES), at, CODES)
            (batch,) = client.stream(label_set, [known.views[:5]], CODES)
            known.check(batch, at, CODES)
            assert label_set.codec().row_stride == 6
    for wrong in (None, "guess-4711"):
        with service.client(token=wrong) as client:
            for call in (
                lambda client=client: client.open("guarded"),
                lambda client=client: client.labels(label_set, known.views[:5], CODES),
                lambda client=client: RemoteLabelSet(client, label_set.manifest, {}).codec(),
                lambda client=client: list(client.stream(label_set, [known.views[:5]], CODES)),
            ):
                with pytest.raises(UnauthenticatedError) as caught:
                    call()
                assert "4711" not in caught.value.message
    # Health is for balancers, which have no token.
    assert run_command("health", "--address", service.grpc).returncode == 0


async def test_read_token_async(guarded: tuple[RunningService, KnownLabelSet]) -> None:
    service, known = guarded
    async with service.async_client(token="reading-word-4711") as client:
        label_set = await client.open("guarded")
    async with service.async_client(token="guess-4711") as client:
        with pytest.raises(UnauthenticatedError):
            await client.open("guarded")
        with pytest.raises(UnauthenticatedError):
            _ = [b async for b in client.stream(label_set, [known.views[:5]], CODES)]


def test_redis_of_ones_own(tmp_path: Path) -> None:
    """With a Redis that forgets, pushing is refused; once it is mended, all goes well."""
    known = identity_label_set(tmp_path / "on_disk", 51, num_samples=20)
    with running_redis(tmp_path, "--appendonly", "no", "--requirepass", "secret-word") as redis:
        url = redis.url.replace("redis://", "redis://:secret-word@")
        wrong = run_command(
            *("serve", "--data-dir", str(tmp_path / "wrong"), "--grpc-port", "0"),
            *("--admin-port", "0", "--redis-url", url.replace("secret-word", "mistaken-word")),
        )
        assert (wrong.returncode, len(wrong.stderr.splitlines())) == (1, 1), wrong.stderr
        assert "mistaken-word" not in wrong.stderr
        variables = {"LABELCAST_REDIS_URL": url}
        with running_service(tmp_path, environment=variables) as service:
            with Registry(service.admin, service.token()) as registry:
                with pytest.raises(StoreUnsafeError, match="append"):
                    registry.push(known.on_disk, "own")
                with redis.client("secret-word") as raw:
                    raw.config_set("appendonly", "yes")
                    raw.config_set("maxmemory-policy", "allkeys-lru")
                with pytest.raises(StoreUnsafeError, match="allkeys-lru"):
                    registry.push(known.on_disk, "own")
                with redis.client("secret-word") as raw:
                    raw.config_set("maxmemory-policy", "noeviction")
                registry.push(known.on_disk, "own")
            with service.client() as client:
                at = np.arange(len(known.views))
                known.check(client.labels(client.open("own"), known.views, CODES), at, CODES)
        assert "secret-word" not in service.log()
