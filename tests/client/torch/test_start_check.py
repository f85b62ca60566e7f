"""What a loader compares before its first batch, and what it says where it compares nothing."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from labelcast import UNCHECKED, Representation, Views
from labelcast.errors import ContractMismatchError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import LabelSetSource, SoftLabelLoader, ViewRenderer
from tests.factories.label_sets import POLICY, CodecName, make_label_set, with_control_views

SAMPLES, FIRST = 50, 10**12
NONE_AT_HAND = (
    "none of the label set's 22 control views is of samples at hand: nothing is compared at the"
    " start"
)


class Grey(Dataset[tuple[Tensor, int]]):
    """The data set of `make_label_set`, all of one brightness."""

    def __init__(self, brightness: float = 0.5, samples: Any = slice(None)) -> None:
        numbers = np.arange(SAMPLES)[samples]
        self.sample_ids: NDArray[np.uint64] = (FIRST + 7 * numbers).astype(np.uint64)
        self.hard_labels = numbers % 10
        self.class_names = [f"class {number}" for number in range(10)]
        self.brightness, self.read = brightness, 0

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read += 1
        return torch.full((1, 8, 8), self.brightness), int(self.hard_labels[index])


def batches_of(
    label_set: LabelSetDirectory,
    dataset: Grey,
    representation: Representation | None = None,
    **options: Any,
) -> SoftLabelLoader:
    source = LabelSetSource(label_set, representation or Representation.codes())
    return SoftLabelLoader(
        dataset, source, seeds=[3], batch_size=20, fingerprints=UNCHECKED, **options
    )


def made(directory: Path, codec: CodecName = "raw") -> LabelSetDirectory:
    """A label set that was made of such samples."""
    label_set, _ = make_label_set(directory, codec)

    def render(views: Views) -> Any:
        images = torch.full((len(views), 1, 8, 8), 0.5)
        return ViewRenderer(POLICY, Grey().sample_ids).render(views, images, None).numpy()

    return with_control_views(label_set, render=render)


@pytest.fixture
def label_set(tmp_path: Path) -> LabelSetDirectory:
    return made(tmp_path)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "labelcast.torch.images")
    return caplog


def test_views_are_compared_once(
    label_set: LabelSetDirectory, said: pytest.LogCaptureFixture
) -> None:
    loader = batches_of(label_set, Grey())
    assert not said.messages
    for _ in range(2):
        assert len(list(loader)) == 3
    assert said.messages == ["22 of 22 control views are as they were"]


@pytest.mark.parametrize(
    "representation",
    [Representation.codes(), Representation.logits(), Representation.probabilities(4.0)],
    ids=lambda representation: representation.form,
)
@pytest.mark.parametrize("codec", ["raw", "vqae"])
def test_labels_are_compared_in_every_form(
    tmp_path: Path,
    codec: CodecName,
    representation: Representation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    label_set = made(tmp_path, codec)
    assert list(batches_of(label_set, Grey(), representation))
    # One row further, as an index that is off by one would read.
    index = label_set.index().segments[0]
    loader = batches_of(label_set, Grey(), representation)
    rows = index.rows
    monkeypatch.setattr(
        type(index), "rows", lambda _, views: ((rows(views)[0] + 1) % 150, rows(views)[1])
    )
    with pytest.raises(ContractMismatchError, match="22 of 22 control views get other labels"):
        next(iter(loader))


def test_other_images_stop_the_loader_before_its_first_batch(label_set: LabelSetDirectory) -> None:
    for brightness in (0.45, 0.55, float("nan")):
        with pytest.raises(ContractMismatchError, match="22 of 22 control views look otherwise"):
            next(iter(batches_of(label_set, Grey(brightness))))
    assert list(batches_of(label_set, Grey(0.505)))


def test_who_says_so_compares_nothing(
    label_set: LabelSetDirectory, said: pytest.LogCaptureFixture
) -> None:
    assert list(batches_of(label_set, Grey(0.9), control_views=UNCHECKED))
    assert not said.messages


def test_a_set_without_control_views_is_said_to_have_none(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    plain, _ = make_label_set(tmp_path)
    assert list(batches_of(plain, Grey(0.9)))
    assert said.messages == ["the label set has no control views: nothing is compared at the start"]


def test_a_part_of_the_samples_compares_its_own(
    label_set: LabelSetDirectory, said: pytest.LogCaptureFixture
) -> None:
    control = label_set.control_views()
    assert control is not None
    with_some = Grey(samples=slice(0, 20))
    own = int(np.isin(control.views.sample_ids, with_some.sample_ids).sum())
    assert 0 < own < 22
    assert list(batches_of(label_set, with_some, sample_ids=with_some.sample_ids))
    # Of another brightness, but nobody could know.
    others = np.setdiff1d(Grey().sample_ids, control.views.sample_ids)
    assert list(batches_of(label_set, Grey(0.9), sample_ids=others))
    assert said.messages == [
        f"{own} of 22 control views are as they were",
        NONE_AT_HAND,
    ]
    assert said.records[-1].levelno == logging.WARNING
