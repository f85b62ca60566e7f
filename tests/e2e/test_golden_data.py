"""A data directory that an earlier version left: a service started on it serves what was in it."""

import dataclasses
from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from labelcast import LabelKind, Precision, RemoteLabelSet, Representation
from labelcast.errors import LabelSetRetiredError
from labelcast.label_set_directory import LabelSetDirectory
from tests.e2e.running_service import RunningService, running_service
from tests.factories.decoded import assert_same_labels
from tests.golden.answers import assert_same_answer
from tests.golden.conversation import NAMES as CONVERSATIONS
from tests.golden.conversation import asked, load
from tests.golden.expected import (
    EXACT,
    LATER,
    NAMES,
    RETIRED,
    copy_data_directory,
    expected,
    label_set_directory,
)

pytestmark = pytest.mark.e2e

CODES = Representation.codes()
PUBLISHED = [name for name in NAMES if name != RETIRED]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    directory = tmp_path_factory.mktemp("golden")
    copy_data_directory(directory / "data")
    with running_service(directory) as started:
        for name in LATER:
            started.push(LabelSetDirectory(label_set_directory(name)), f"golden:{name}")
        yield started


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_label_is_what_it_was(service: RunningService, name: str) -> None:
    known = expected(name)
    with service.client() as client:
        label_set = client.open(f"golden:{name}")
        assert label_set.digest == known.digest
        assert label_set.manifest.num_labels == len(known.views)
        codes = client.labels(label_set, known.views, CODES)
        np.testing.assert_array_equal(codes.rows, known.rows)
        for labels in (
            label_set.labels(known.views.sample_ids, known.views.seeds),
            client.labels(label_set, known.views, decoded_form(label_set)).values,
        ):
            if name in EXACT:
                np.testing.assert_array_equal(labels, known.labels)
            else:
                assert_same_labels(labels, known.labels)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_recorded_view_is_what_it_was(service: RunningService, name: str) -> None:
    known = expected(name)
    with service.client() as client:
        records = client.open(f"golden:{name}").records()
    assert (records is None) == (not known.recorded)
    if records is not None:
        replayed = records.of(known.views)
        for field in dataclasses.fields(replayed):
            if field.name in known.recorded:
                column = getattr(replayed, field.name)
                np.testing.assert_array_equal(column, known.recorded[field.name])


def test_every_tag_and_state_is_what_it_was(service: RunningService) -> None:
    with service.registry() as registry:
        found = {one.digest: (one.state, set(one.tags)) for one in registry.list()}
    assert found == {
        expected(name).digest: (
            "retired" if name == RETIRED else "published",
            set() if name == RETIRED else tags_of(name),
        )
        for name in NAMES
    }
    with service.client() as client, pytest.raises(LabelSetRetiredError):
        client.open(expected(RETIRED).digest)


def test_what_was_pushed_is_known(service: RunningService) -> None:
    with service.registry() as registry:
        for name in PUBLISHED:
            again = registry.push(LabelSetDirectory(label_set_directory(name)), f"golden:{name}")
            assert (again.digest, again.uploaded_blobs) == (expected(name).digest, 0)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_what_clients_of_before_asked_is_answered_as_it_was(
    service: RunningService, name: str
) -> None:
    with grpc.insecure_channel(service.grpc) as channel:
        for recorded in load(name).calls:
            assert_same_answer(asked(channel, recorded.method, recorded.requests), recorded)


def tags_of(name: str) -> set[str]:
    return {f"golden:{name}"} | ({"golden:another-name"} if name == "raw" else set())


def decoded_form(label_set: RemoteLabelSet) -> Representation:
    if label_set.contract.label_kind is LabelKind.LOGITS:
        return Representation.logits(Precision.FP32)
    return Representation.probabilities(1.0, Precision.FP32)
