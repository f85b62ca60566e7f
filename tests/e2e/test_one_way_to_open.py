"""A label set that a service has and one in a directory are opened and used alike."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import labelcast
from labelcast import Expectation, LabelSet, MissingViews, RemoteLabelSet, Representation, Views
from labelcast.codec import TOLERANCES, Labels, Precision
from labelcast.errors import (
    ContractMismatchError,
    InvalidRequestError,
    LabelSetNotFoundError,
    UnsupportedFormError,
    ViewNotFoundError,
)
from labelcast.remote.pulling import pull
from labelcast.torch import CodedLabels
from tests.e2e.conftest import CODECS
from tests.e2e.label_sets import REPRESENTATIONS, KnownLabelSet
from tests.e2e.running_service import RunningService
from tests.factories.decoded import assert_same_labels
from tests.factories.label_sets import MIXING_POLICY, make_label_set, make_label_set_with_parts

pytestmark = pytest.mark.e2e

CODES, LOGITS = Representation.codes(), Representation.logits()


@pytest.fixture(params=["service", "directory"])
def where(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(where: str, name: str, service: RunningService, known: KnownLabelSet) -> LabelSet:
    if where == "service":
        return labelcast.open(name, address=service.grpc)
    return labelcast.open(known.on_disk.directory)


@pytest.mark.parametrize("name", CODECS)
def test_labels_by_sample_and_seed(
    service: RunningService, label_sets: dict[str, KnownLabelSet], where: str, name: str
) -> None:
    known = label_sets[name]
    label_set = opened(where, name, service, known)
    assert len(label_set) == len(known.views)
    assert name == "raw" or label_set.digest[:15] in repr(label_set)
    at = np.random.default_rng(1).permutation(len(known.views))[:500]
    soft = label_set.labels(known.views.sample_ids[at], known.views.seeds[at])
    assert soft.dtype == np.float32
    assert_same_labels(soft, known.labels[at])
    # A pickled one reads its parts anew.
    again = pickle.loads(pickle.dumps(label_set))
    np.testing.assert_array_equal(
        again.labels(known.views.sample_ids[at], known.views.seeds[at]), soft
    )
    with pytest.raises(ViewNotFoundError):
        label_set.labels(known.views.sample_ids[:1], 2**32 - 1)
    with pytest.raises(InvalidRequestError, match="at least one"):
        label_set.labels([], [])


@pytest.mark.parametrize("form", REPRESENTATIONS)
@pytest.mark.parametrize("name", CODECS)
def test_streams_of_every_form(
    service: RunningService, label_sets: dict[str, KnownLabelSet], where: str, name: str, form: str
) -> None:
    known, representation = label_sets[name], REPRESENTATIONS[form]
    label_set = opened(where, name, service, known)
    at, done = np.random.default_rng(2).permutation(len(known.views)), 0
    if not known.allows(representation):
        with pytest.raises(UnsupportedFormError):
            list(label_set.stream(known.views[at].batches(100), representation))
        return
    for batch in label_set.stream(known.views[at].batches(100), representation):
        known.check(batch, at[done : done + len(batch.rows)], representation)
        done += len(batch.rows)
    assert done == len(at)


@pytest.mark.parametrize("name", ["raw", "vqae-context"])
def test_parts_are_alike(
    service: RunningService, label_sets: dict[str, KnownLabelSet], name: str
) -> None:
    known = label_sets[name]
    there, here = (opened(where, name, service, known) for where in ("service", "directory"))
    assert there.manifest == here.manifest
    assert there.report == here.report
    assert there.artifact() == here.artifact()
    assert (there.context() is None) == (here.context() is None) == (name == "raw")
    assert there.records() is here.records() is None
    asked = Views.of(known.views.sample_ids[:50], 77)
    for missing in (MissingViews.DRAW_ALL, MissingViews.DROP):
        (one, rows), (other, same_rows) = (
            label_set.resolve(asked, missing) for label_set in (there, here)
        )
        np.testing.assert_array_equal(one.seeds, other.seeds)
        np.testing.assert_array_equal(rows, same_rows)


def test_what_is_expected_is_compared(
    service: RunningService, label_sets: dict[str, KnownLabelSet], where: str
) -> None:
    expect = Expectation(num_classes=41)
    reference = "raw" if where == "service" else label_sets["raw"].on_disk.directory
    address = service.grpc if where == "service" else None
    with pytest.raises(ContractMismatchError, match="num_classes"):
        labelcast.open(reference, address=address, expect=expect)


def test_what_cannot_be_opened(service: RunningService, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"is no directory; .* give its address"):
        labelcast.open("mine:v1")
    with pytest.raises(LabelSetNotFoundError):
        labelcast.open("nobodys:v1", address=service.grpc)


@pytest.fixture(scope="module")
def drawn(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Labels]:
    """A label set whose views are drawn, as `drawn`."""
    on_disk, labels = make_label_set(tmp_path_factory.mktemp("drawn"), "vqae-context")
    service.push(on_disk, "drawn")
    return on_disk.directory, labels


def test_a_loop_of_ones_own_takes_views_from_the_set(
    service: RunningService,
    drawn: tuple[Path, Labels],
    where: str,
) -> None:
    directory, labels = drawn
    label_set: LabelSet = (
        labelcast.open("drawn", address=service.grpc)
        if where == "service"
        else labelcast.open(directory)
    )
    stored = label_set.index().segments[0].views()
    views = label_set.views(stored.sample_ids, stored.seeds)
    assert (views.partner_share > 0).any()
    assert views.made_by is not None
    assert set(views.partners.sample_ids.tolist()) <= set(stored.sample_ids.tolist())
    for form in (CODES, LOGITS):
        tolerance = TOLERANCES[form.precision or Precision.FP32]
        assert tolerance.accepts(label_set.reader(form)(views).astype(np.float32), labels)
        on_device = label_set.reader(form, device="cpu")(views)
        assert isinstance(on_device, torch.Tensor)
        assert tolerance.accepts(on_device.float().numpy(), labels)

    coded = label_set.code_reader()(views)
    assert isinstance(coded, CodedLabels)
    assert_same_labels(coded.decode().numpy(), labels)

    # Nobody has said how these are rendered.
    with pytest.raises(InvalidRequestError, match="belongs to one rendering"):
        label_set.reader()(stored)
    with pytest.raises(InvalidRequestError, match="belongs to one rendering"):
        label_set.reader()(stored.sample_ids)
    with pytest.raises(InvalidRequestError, match="belongs to one rendering"):
        label_set.code_reader()(stored)
    told = label_set.reader(policy=MIXING_POLICY)
    assert_same_labels(told(stored), labels)
    with pytest.raises(InvalidRequestError, match="do not say which view"):
        told(stored.sample_ids)
    for other in (replace(MIXING_POLICY, view_height=9), None):
        with pytest.raises(ContractMismatchError, match="another policy"):
            label_set.reader(policy=other)
    with pytest.raises(InvalidRequestError, match="top-k"):
        label_set.reader(Representation.top_k(3, 1.0))
    with pytest.raises(ViewNotFoundError):
        label_set.views(stored.sample_ids[:1], 2**32 - 1)


def test_views_of_another_set_are_refused(
    service: RunningService, label_sets: dict[str, KnownLabelSet], tmp_path: Path
) -> None:
    one, _ = make_label_set(tmp_path / "one", seed=1)
    other, _ = make_label_set(tmp_path / "other", seed=2)
    views = one.views(one.index().segments[0].sample_ids, one.index().segments[0].seeds[0])
    assert len(one.reader()(views)) == len(views)
    with pytest.raises(ContractMismatchError, match="another label set"):
        other.reader()(views)


def test_samples_with_one_plain_view_need_no_seed(tmp_path: Path) -> None:
    on_disk, labels = make_label_set(tmp_path / "one", num_seeds=1, policy=None)
    ids = on_disk.index().segments[0].sample_ids
    assert_same_labels(on_disk.reader()(ids[::-1]), labels[::-1])
    several, _ = make_label_set(tmp_path / "several", num_seeds=2, policy=None)
    with pytest.raises(InvalidRequestError, match="do not say which view"):
        several.reader()(ids)
    plain = several.index().segments[0].views()
    assert len(several.reader()(plain)) == len(plain)


def test_a_remote_set_knows_its_client(
    service: RunningService, label_sets: dict[str, KnownLabelSet]
) -> None:
    known = label_sets["raw"]
    with service.client() as client:
        label_set = client.open("raw")
        assert isinstance(label_set, RemoteLabelSet)
        delivered = client.labels(label_set, known.views[:9], CODES)
        known.check(delivered, np.arange(9), CODES)


def test_parts_that_nobody_knows_travel_along(service: RunningService, tmp_path: Path) -> None:
    on_disk = make_label_set_with_parts(tmp_path / "made")
    service.push(on_disk, "parts")
    with service.client() as client:
        pulled = pull(client, "parts", tmp_path / "pulled")
    assert pulled.manifest == on_disk.manifest
    for ref in on_disk.manifest.blobs().values():
        assert pulled.read_blob(ref) == on_disk.read_blob(ref)
