"""Relabelling with a teacher small enough to be recomputed by hand."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.errors import InvalidRequestError, LabelFileError, LabelValueError, StoreFullError
from labelcast.torch import SampleTable, ViewRenderer
from labelcast.views import Views
from labelcast_producers.dense.labels import DESCRIPTION_NAME, DenseLabels
from labelcast_producers.relabel.relabeller import relabel
from labelcast_producers.relabel.teacher import module_digest
from tests.factories.pictures import CLASSES, Pictures

POLICY = AugmentationPolicy(
    view_height=4,
    view_width=5,
    rotation_degrees=20.0,
    crop_scale=(0.4, 1.0),
    flip_probability=0.5,
    mix=Mix.CUTMIX,
    mix_probability=0.8,
)
TABLE = SampleTable(Pictures(17))
SEEDS = 3


class Teacher(nn.Module):
    """Linear in the pixels; behaves otherwise while it is trained."""

    def __init__(self, pixels: int = 40, classes: int = len(CLASSES)) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(classes, pixels, generator=generator))
        self.dropout = nn.Dropout(0.5)
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        seen: Tensor = self.dropout(images.flatten(1))
        return seen @ self.weight.T


def run(
    out: Path,
    teacher: nn.Module | None = None,
    *,
    policy: AugmentationPolicy | None = POLICY,
    batch_rows: int = 5,
    seeds: int = SEEDS,
) -> DenseLabels:
    return relabel(
        Teacher() if teacher is None else teacher,
        TABLE,
        policy,
        seeds=seeds,
        out=out,
        teacher_name="tiny",
        device="cpu",
        batch_rows=batch_rows,
    )


def by_hand(teacher: Teacher, sample_id: int, seed: int) -> Tensor:
    """The teacher's logits for one view, rendered alone."""
    renderer, views = ViewRenderer(POLICY, TABLE.sample_ids), Views.of([sample_id], seed)
    partner = TABLE.images(renderer.partners(views).sample_ids)
    image = renderer.render(views, TABLE.images(views.sample_ids), partner)
    with torch.no_grad():
        return torch.einsum("cp,p->c", teacher.weight, image.flatten())


@pytest.mark.parametrize("batch_rows", [1, 5, 17, 1000])
def test_labels_are_those_of_the_teacher_on_each_view(tmp_path: Path, batch_rows: int) -> None:
    teacher = Teacher().train()
    dense = run(tmp_path, teacher, batch_rows=batch_rows)
    assert max(teacher.batches) == min(batch_rows, 17)
    views = dense.index.views()
    labels = dense.rows.read(0, dense.rows.num_rows)
    assert labels.shape == (17 * SEEDS, len(CLASSES))
    assert labels.dtype == np.float16
    for row in range(len(views)):
        expected = by_hand(teacher, int(views.sample_ids[row]), int(views.seeds[row]))
        assert np.allclose(labels[row], expected.numpy(), rtol=2e-3, atol=2e-3)


def test_without_a_policy_every_seed_labels_the_samples_themselves(tmp_path: Path) -> None:
    teacher = Teacher(pixels=72)
    dense = run(tmp_path, teacher, policy=None)
    labels = dense.rows.read(0, dense.rows.num_rows).reshape(SEEDS, 17, -1)
    with torch.no_grad():
        expected = teacher.eval()(TABLE.images(TABLE.sample_ids)).numpy()
    for of_seed in labels:
        assert np.allclose(of_seed, expected, rtol=2e-3, atol=2e-3)


def test_the_description_is_that_of_what_was_used(tmp_path: Path) -> None:
    teacher = Teacher()
    dense = run(tmp_path, teacher)
    told = dense.description
    assert (told.teacher, told.teacher_name) == (module_digest(teacher), "tiny")
    assert (told.dataset, told.class_list) == (TABLE.digest(), TABLE.class_list())
    assert (told.policy, told.num_classes) == (POLICY, len(CLASSES))
    assert dense.hard_labels is not None
    assert dense.hard_labels.tolist() == TABLE.hard_labels().tolist()
    assert dense.index.sample_ids.tolist() == TABLE.sample_ids.tolist()
    assert dense.index.seeds.tolist() == list(range(SEEDS))


def test_a_second_run_gives_the_same_labels(tmp_path: Path) -> None:
    first = run(tmp_path / "first").rows.read(0, 51)
    again = run(tmp_path / "again", batch_rows=17).rows.read(0, 51)
    assert np.allclose(first, again, rtol=2e-3, atol=2e-3)
    assert np.array_equal(run(tmp_path / "again").rows.read(0, 51), first)


class Sometimes(Teacher):
    """Spoils the label of one view: the `at`-th that it is shown."""

    def __init__(self, at: int, value: float) -> None:
        super().__init__()
        self._at, self._value = at, value

    def forward(self, images: Tensor) -> Tensor:
        first = sum(self.batches)
        logits = super().forward(images)
        if first <= self._at < first + len(images):
            logits[self._at - first, 2] = self._value
        return logits


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 7e4, -7e4])
@pytest.mark.parametrize("at", [0, 16, 17 + 8, 50])
def test_a_label_that_fp16_cannot_hold_is_refused_by_name(
    tmp_path: Path, at: int, value: float
) -> None:
    with pytest.raises(LabelValueError) as caught:
        run(tmp_path, Sometimes(at, value))
    seed, position = divmod(at, 17)
    sample_id = TABLE.sample_ids[position]
    assert caught.value.facts == {"sample_id": str(sample_id), "seed": str(seed)}
    assert f"sample ID {sample_id}, seed {seed}" in caught.value.message
    with pytest.raises(LabelFileError, match="finish"):
        DenseLabels.open(tmp_path)


def test_the_largest_half_is_kept(tmp_path: Path) -> None:
    dense = run(tmp_path, Sometimes(8, 65504.0))
    assert dense.rows.read(8, 9)[0, 2] == 65504


@pytest.mark.parametrize("classes", [1, len(CLASSES) - 1, len(CLASSES) + 1])
def test_a_teacher_of_other_classes_is_refused(tmp_path: Path, classes: int) -> None:
    with pytest.raises(LabelFileError, match=f"has {len(CLASSES)} classes"):
        run(tmp_path, Teacher(classes=classes))


def test_a_failed_run_does_not_leave_the_labels_of_an_earlier_one(tmp_path: Path) -> None:
    run(tmp_path)
    assert (tmp_path / DESCRIPTION_NAME).exists()
    with pytest.raises(LabelValueError):
        run(tmp_path, Sometimes(20, float("nan")))
    assert not (tmp_path / DESCRIPTION_NAME).exists()
    assert run(tmp_path).rows.num_rows == 51


def test_a_teacher_that_is_no_module_is_named(tmp_path: Path) -> None:
    teacher: Any = {"weight": 1}
    with pytest.raises(InvalidRequestError, match="tiny is of type dict, not torch"):
        run(tmp_path, teacher)


@pytest.mark.parametrize("seeds", [-1, 0, 2**32, 10**11])
def test_impossible_numbers_of_seeds_are_refused(tmp_path: Path, seeds: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"seeds must be .* got {seeds}"):
        run(tmp_path, seeds=seeds)


def test_labels_that_the_disk_cannot_hold_are_refused_before_anything_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    needed = 2 * 10**6 * 17 * len(CLASSES)
    with pytest.raises(StoreFullError, match=f"need {needed} bytes"):
        run(tmp_path, seeds=10**6)
    assert DenseLabels.open(tmp_path).rows.num_rows == 17 * SEEDS
    # What they replace makes room for them.
    assert run(tmp_path).rows.num_rows == 17 * SEEDS


def nudged(teacher: Teacher) -> None:
    with torch.no_grad():
        teacher.weight[0, 0] += 1e-3


def halved(teacher: Teacher) -> None:
    teacher.half()


def extended(teacher: Teacher) -> None:
    teacher.register_buffer("extra", torch.zeros(0))


def reshaped(teacher: Teacher) -> None:
    teacher.weight = nn.Parameter(teacher.weight.detach().reshape(40, -1))


def test_the_digest_of_a_teacher_is_that_of_its_state() -> None:
    changes: list[Callable[[Teacher], None]] = [nudged, halved, extended, reshaped]
    digests = {module_digest(Teacher())}
    assert digests == {module_digest(Teacher().eval().requires_grad_(False))}
    for change in changes:
        teacher = Teacher()
        change(teacher)
        digests.add(module_digest(teacher))
    assert len(digests) == len(changes) + 1


def test_scalars_and_half_precision_have_digests() -> None:
    module = nn.BatchNorm2d(3)  # counts its batches in a scalar
    assert module_digest(module) != module_digest(module.bfloat16())
