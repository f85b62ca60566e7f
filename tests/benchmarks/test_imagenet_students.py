"""The ImageNet benchmark's students: the teacher's own views, honest yardsticks and shares."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.codec.queue import missing
from benchmarks.imagenet.budget_table import budget_table
from benchmarks.imagenet.comparison import compare_mean_label, compare_student, photographs_of
from benchmarks.imagenet.label_facts import label_facts
from benchmarks.imagenet.networks import Architecture, student_network
from benchmarks.imagenet.parts import TESTED, Part
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.points import Kept, Point, Students, Supervision, all_points
from benchmarks.imagenet.preparation import prepare
from benchmarks.imagenet.results import collect, derive
from benchmarks.imagenet.settings import CLASSES, QUICK, StudentSettings
from benchmarks.imagenet.steps import count_steps, planned_steps
from benchmarks.imagenet.student_views import views_path, write_views
from benchmarks.imagenet.students import Teaching
from benchmarks.imagenet.table import (
    fidelity_table,
    known_things_table,
    students_table,
    views_table,
)
from benchmarks.imagenet.work import do_unit, units_of
from labelcast.augmentation import AugmentationPolicy, Mix, draw_records
from labelcast.codec import LabelKind
from labelcast.identifiers import digest_from_hash
from labelcast.label_set import GridIndex, RowOrder
from labelcast.torch.images.render_seeded import ViewRenderer
from labelcast_producers.dense.labels import (
    DESCRIPTION_NAME,
    LABELS_NAME,
    Description,
    write_tables,
)

DIGEST = digest_from_hash(bytes(32))
PICTURES, TESTS, SEEDS = 8, 4, 6
SIZE, VIEW = 64, 56
SCALE = replace(
    QUICK,
    pictures=PICTURES,
    seeds=SEEDS,
    tested_pictures=TESTS,
    tested_seeds=2,
    student=StudentSettings(
        view_size=16,
        resnet_width=8,
        mobilenet_width=8,
        passes=6,
        batch_size=24,
        peak_learning_rate=0.03,
        few_views=2,
    ),
)
POLICY = AugmentationPolicy(
    view_height=VIEW,
    view_width=VIEW,
    crop_scale=(0.08, 1.0),
    crop_ratio=4 / 3,
    flip_probability=0.5,
    mix=Mix.CUTMIX,
    mix_batch=4,
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Flat training pictures, each of its own grey; held-out ones whose colours tell places."""
    found = Place(SCALE, tmp_path_factory.mktemp("imagenet"))
    greys = np.linspace(20, 230, PICTURES).astype(np.uint8)
    flat = np.broadcast_to(greys[:, None, None, None], (PICTURES, SIZE, SIZE, 3))
    ramp = (np.arange(SIZE) + 0.5) * 255 / SIZE
    places = np.zeros((TESTS, SIZE, SIZE, 3))
    places[..., 0], places[..., 1] = ramp[None, None, :], ramp[None, :, None]
    write_pictures(found, "train", flat)
    for part in TESTED:
        write_pictures(found, part, places.round().astype(np.uint8))
    write_labels(found, "train", PICTURES, SEEDS, POLICY)
    for number, part in enumerate(TESTED):
        policy = replace(POLICY, mix=Mix.NONE, mix_batch=0)
        write_labels(found, part, TESTS, 2, policy, other=number)
    write_views(found, jobs=1)
    return found


def write_pictures(place: Place, part: str, pixels: Any) -> None:
    directory = place.directory / "images"
    directory.mkdir(exist_ok=True)
    np.save(directory / f"{part}.npy", pixels)
    names = [f"{part}-{number // 2}.png" for number in range(len(pixels))]
    facts = {"stamps": names, "wallpapers": names, "hard_labels": list(range(len(pixels)))}
    (directory / f"{part}.json").write_text(json.dumps(facts))


def write_labels(
    place: Place, part: str, samples: int, seeds: int, policy: AugmentationPolicy, other: int = 0
) -> None:
    """Some classes are likely everywhere, which is what a student can learn."""
    directory = place.labels(part)
    directory.mkdir(parents=True)
    generator = np.random.default_rng(samples + other)
    logits = 3 * np.random.default_rng(0).normal(size=CLASSES)
    logits = logits + generator.normal(size=(seeds, samples, CLASSES))
    np.save(directory / LABELS_NAME, logits.astype(np.float16))
    index = GridIndex(
        np.arange(samples, dtype=np.uint64), np.arange(seeds, dtype=np.uint32), RowOrder.SEED_MAJOR
    )
    write_tables(directory, index, np.arange(samples, dtype=np.int64))
    description = Description(
        teacher=DIGEST,
        teacher_name="none",
        dataset=DIGEST,
        num_classes=CLASSES,
        class_list=DIGEST,
        policy=policy,
        label_kind=LabelKind.LOGITS,
        temperature=None,
    )
    (directory / DESCRIPTION_NAME).write_bytes(description.to_bytes())
    facts = label_facts(directory) | {"labels_per_second": None}
    (place.directory / f"labels-{part}.json").write_text(json.dumps(facts))


def test_views_of_another_size_have_the_teachers_crop(place: Place) -> None:
    views = np.load(views_path(place, Part.HELD_OUT)).astype(np.float64)
    labels = place.teachers(Part.HELD_OUT)
    policy, rows = labels.description.policy, labels.index.views()
    assert isinstance(policy, AugmentationPolicy)
    drawn = draw_records(policy, rows.sample_ids, rows.seeds, sample_table=labels.index.sample_ids)
    assert views.shape == (TESTS * 2, 3, 16, 16)
    middles = (np.arange(16) + 0.5) / 16
    for row, view in enumerate(views):
        across = middles[::-1] if drawn.flip[row] else middles
        left, width = drawn.crop_left[row] / 2**16, drawn.crop_width[row] / 2**16
        top, height = drawn.crop_top[row] / 2**16, drawn.crop_height[row] / 2**16
        # Red tells how far right a pixel of the picture is, green how far down.
        np.testing.assert_allclose(view[0].mean(axis=0) / 255, left + width * across, atol=0.012)
        np.testing.assert_allclose(view[1].mean(axis=1) / 255, top + height * middles, atol=0.012)


def test_views_of_another_size_show_as_much_of_the_partner(place: Place) -> None:
    views = np.load(views_path(place, Part.TRAIN)).mean(axis=(1, 2, 3))
    labels, pictures = place.teachers(Part.TRAIN), place.pictures(Part.TRAIN)
    greys = pictures.pixels[:, 0, 0, 0].astype(np.float64)
    rows = labels.index.views()
    policy = labels.description.policy
    assert isinstance(policy, AugmentationPolicy)
    renderer = ViewRenderer(policy, labels.index.sample_ids)
    area = renderer.mixed_area(rows)
    own, partner = (
        greys[each.sample_ids.astype(np.int64)] for each in (rows, renderer.partners(rows))
    )
    assert (area > 0.1).any()
    np.testing.assert_allclose(views, (1 - area) * own + area * partner, atol=0.6)


def test_every_pass_shows_all_views_and_few_views_are_calibrated_by_hard_labels() -> None:
    rows = PICTURES * SEEDS
    steps = list(planned_steps(Kept.ALL, SCALE, seed=3))
    assert len(steps) == count_steps(SCALE) == rows * 6 // 24
    seen = np.bincount(np.concatenate([step.rows for step in steps]), minlength=rows)
    assert set(seen.tolist()) == {6}
    assert not any(step.hard for step in steps)
    few = list(planned_steps(Kept.FEW, SCALE, seed=3))
    assert [step.hard for step in few] == [False] * 4 + [True] * 4 + [False] * 4
    assert max(step.rows.max() for step in few if not step.hard) < 2 * PICTURES
    pruned = list(planned_steps(Kept.PRUNED, SCALE, seed=3))
    assert len(pruned) == len(few) == len(steps)
    assert max(step.rows.max() for step in pruned) < rows // 4
    again = planned_steps(Kept.ALL, SCALE, seed=3)
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(steps, again, strict=True))


class _Teacher(nn.Module):
    """Says what the teacher said of each crop, part by part, and a little else of the first."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.parts = [place.teachers(part).rows for part in TESTED]

    def forward(self, images: Tensor) -> Tensor:
        rows = self.parts.pop(0)
        logits = torch.from_numpy(rows.gather(np.arange(len(images)))).float()
        logits[0] = 0
        return logits


def test_students_are_compared_with_the_teacher_crop_by_crop(place: Place) -> None:
    found = compare_student(_Teacher(place), place)
    for part in TESTED:
        names, photograph = photographs_of(place, part)
        assert names == [f"{part}-0.png", f"{part}-1.png"]
        assert photograph.tolist() == [0, 0, 1, 1] * 2
        row = place.teachers(part).rows.gather(np.zeros(1, np.int64))
        first = torch.from_numpy(row).double()
        expected = float((first.softmax(1) * (first.log_softmax(1) + np.log(CLASSES))).sum())
        assert found[part]["kl_by_photograph"] == pytest.approx([expected, 0.0], abs=1e-3)
        assert found[part]["kl"] == pytest.approx(expected / 8, abs=1e-3)
        assert found[part]["top1"] == pytest.approx(7 / 8, abs=0.13)


def test_the_mean_label_is_that_of_all_training_views(place: Place) -> None:
    training, *tested = (
        torch.from_numpy(labels.rows.read(0, labels.rows.num_rows)).double().log_softmax(1)
        for labels in map(place.teachers, (Part.TRAIN, *TESTED))
    )
    mean = training.exp().mean(dim=0).log()
    found = compare_mean_label(place)
    for part, labels in zip(TESTED, tested, strict=True):
        expected = float((labels.exp() * (labels - mean)).sum(dim=1).mean())
        assert found[part]["kl"] == pytest.approx(expected, abs=1e-3)
        assert sum(found[part]["kl_by_photograph"]) == pytest.approx(8 * expected, abs=0.01)


@pytest.mark.parametrize("architecture", list(Architecture))
def test_students_have_a_logit_for_each_class(architecture: Architecture) -> None:
    network = student_network(architecture, SCALE.student)
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, CLASSES)


def test_softer_labels_are_compared_with_softer_students(place: Place) -> None:
    dense = place.teachers(Part.TRAIN)
    labels = place.labels(Part.TRAIN) / LABELS_NAME
    rows = np.arange(5)
    taught = torch.from_numpy(dense.rows.gather(rows)).float()
    for temperature in (1.0, 2.0):
        teaching = Teaching(dense, Supervision.DENSE, labels, LabelKind.LOGITS, temperature)
        assert float(teaching.loss(taught, rows, hard=False)) == pytest.approx(0, abs=1e-3)
        soft = (taught / temperature).double().log_softmax(1)
        expected = float((soft.exp() * (soft + np.log(CLASSES))).sum(dim=1).mean())
        loss = teaching.loss(torch.zeros_like(taught), rows, hard=False)
        assert float(loss) == pytest.approx(expected, abs=1e-3)


def test_softer_points_differ_in_nothing_but_temperature() -> None:
    points = all_points()
    softer = [point for point in points.values() if point.temperature != 1]
    assert [point.name for point in softer] == ["dense-t2", "vqae-8-t2", "rq-8-t2"]
    for point in softer:
        plain = points[point.name.removesuffix("-t2")]
        assert (point.fit, point.supervision) == (plain.fit, plain.supervision)
        assert (point.ours, point.temperature) == (plain.ours, 2.0)


def test_a_point_goes_from_labels_to_a_share(place: Place) -> None:
    points = all_points()
    wanted = {name: points[name] for name in ("dense", "hard", "topk-renormalise-5")}
    for point in wanted.values():
        for unit in units_of(point, place, 1):
            if "mobilenet" not in unit.name:
                do_unit(place, unit)
    assert [unit.name for unit in missing(units_of(points["dense"], place, 1))] == ["mobilenet-0"]
    result = derive(collect(place))
    found = {point["codec"]: point for point in result["points"]}
    assert list(found) == ["dense", "hard", "topk-renormalise-5"]
    assert found["dense"]["share_kept"] == 1
    assert found["hard"]["share_kept"] == 0
    for part in TESTED:
        of_dense = found["dense"]["by_architecture"]["resnet"][part]
        assert of_dense["share_kept"] == 1
        assert of_dense["share_kept_of_mean"] in (1, None)
    top = found["topk-renormalise-5"]
    assert (top["bytes_per_label"], top["kl_unseen"], top["recipe"]) == (20, None, "sre2l")
    assert 0 < top["share_kept"] < 1
    assert rows_of_equal_width(students_table(result)) == 5
    assert rows_of_equal_width(known_things_table(result)) == 5
    assert rows_of_equal_width(fidelity_table(result)) == 3
    assert rows_of_equal_width(views_table(result)) == 5
    assert rows_of_equal_width(budget_table(result)) == 6


def test_few_views_take_fewer_bytes_and_are_nobodys_own(place: Place) -> None:
    point = Point(
        "vqae-8",
        "ours, 8 B",
        students=tuple(Students(Architecture.RESNET, kept) for kept in Kept),
        ours=True,
    )
    assert [students.name for students in point.students] == [
        "resnet",
        "resnet-pruned",
        "resnet-few",
    ]
    assert [unit.name for unit in units_of(point, place, 2)][1:4] == [
        "resnet-0",
        "resnet-pruned-0",
        "resnet-few-0",
    ]
    assert Supervision.DENSE.label_smoothing is None


def test_points_of_other_settings_are_refused_and_labels_are_not(tmp_path: Path) -> None:
    taught_more = replace(SCALE, student=replace(SCALE.student, passes=9))
    assert taught_more.labels_json() == SCALE.labels_json()
    (tmp_path / "points").mkdir()
    (tmp_path / "settings.json").write_text(json.dumps(SCALE.labels_json()))
    (tmp_path / "points" / "settings.json").write_text(json.dumps(SCALE.points_json()))
    with pytest.raises(ValueError, match="points is of a run with other settings; delete it"):
        prepare(Place(taught_more, tmp_path), tmp_path, jobs=1)


def rows_of_equal_width(table: str) -> int:
    lines = table.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    return len(lines)
