"""FKD's label files: every form, every label; and every way to be wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.augmentation import RecordedPolicy
from labelcast.codec.topk import Recovery
from labelcast.errors import DataError, InvalidRequestError, LabelFileError, LabelValueError
from labelcast.label_set import RowOrder, SampleOrder
from labelcast_producers.formats.per_image import FkdImporter
from labelcast_producers.formats.per_image.fkd import FkdSource
from labelcast_producers.formats.source import ImportOptions, TopK
from tests.factories.unreadable import unreadable
from tests.producers.formats.stored_files import edit, load
from tests.producers.formats.truth_checks import (
    check_labels,
    check_records,
    finding_of,
    names,
    one_line,
    open_own,
)
from tests.producers.formats.writers.fkd import LabelType, write_fkd
from tests.producers.formats.writers.producer_pixels import write_image_folder
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.views import image_names

SMALL: dict[str, Any] = {"samples": 8, "epochs": 3, "classes": 12}
FULL_CLASSES: dict[str, Any] = {"samples": 12, "epochs": 3, "classes": 12}
SPREAD = ImportOptions(recovery=Recovery.SPREAD)
RENORMALISE = ImportOptions(recovery=Recovery.RENORMALISE)


def opened(path: Path, options: ImportOptions = SPREAD) -> FkdSource:
    return open_own(FkdImporter(), path, options)


@pytest.mark.parametrize("label_as", ["tensor", "array"])
@pytest.mark.parametrize(
    ("label_type", "options", "top_k"),
    [
        ("hard", ImportOptions(), TopK(1, Recovery.RENORMALISE)),
        ("smoothing", ImportOptions(), TopK(1, Recovery.SPREAD)),
        ("marginal_smoothing_k5", SPREAD, TopK(5, Recovery.SPREAD)),
        ("marginal_smoothing_k10", ImportOptions(), TopK(10, Recovery.SPREAD)),
        ("marginal_renorm_k5", RENORMALISE, TopK(5, Recovery.RENORMALISE)),
        ("full", ImportOptions(), None),
    ],
)
def test_every_form(
    tmp_path: Path, label_type: LabelType, label_as: Any, options: ImportOptions, top_k: TopK | None
) -> None:
    truth = write_fkd(tmp_path, **FULL_CLASSES, label_type=label_type, label_as=label_as)

    source = opened(tmp_path, options)

    assert source.facts.top_k == top_k
    assert source.facts.temperature == 1
    assert source.facts.order is SampleOrder.GIVEN
    assert source.facts.index.row_order is RowOrder.SAMPLE_MAJOR
    assert source.facts.policy == RecordedPolicy(view_height=224, view_width=224)
    assert source.facts.class_names == names(12)
    assert source.facts.hard_labels is not None
    assert source.facts.hard_labels.tolist() == list(range(12))
    check_labels(source, truth, exact=label_type in ("full", "hard"))
    check_records(source, truth)


@pytest.mark.parametrize("label_type", ["smoothing", "marginal_smoothing_k5", "full"])
def test_labels_in_half_precision(tmp_path: Path, label_type: LabelType) -> None:
    truth = write_fkd(tmp_path, **FULL_CLASSES, label_type=label_type, use_fp16=True)
    check_labels(opened(tmp_path), truth, exact=False)


def test_class_ids_in_half_precision_end_below_2048(tmp_path: Path) -> None:
    write_fkd(tmp_path, samples=4, epochs=40, classes=3000, use_fp16=True)
    options = replace(SPREAD, class_names=names(3000))
    with pytest.raises(LabelFileError, match=r"float16, which rounds .* without --use_fp16"):
        opened(tmp_path, options)
    write_fkd(tmp_path, samples=4, epochs=40, classes=3000)
    assert opened(tmp_path, options).facts.num_classes == 3000


def test_full_labels_of_two_classes_are_no_smoothing(tmp_path: Path) -> None:
    truth = write_fkd(tmp_path, samples=4, epochs=3, classes=2, label_type="full")
    source = opened(tmp_path, ImportOptions())
    assert source.facts.top_k is None
    check_labels(source, truth, exact=True)


def test_smoothing_of_two_classes(tmp_path: Path) -> None:
    truth = write_fkd(tmp_path, samples=4, epochs=3, classes=2, label_type="smoothing")
    check_labels(opened(tmp_path), truth, exact=False)


def test_the_temperature_is_the_users(tmp_path: Path) -> None:
    truth = write_fkd(tmp_path, **FULL_CLASSES, label_type="full", temperature=4.0)
    source = opened(tmp_path, ImportOptions(temperature=4.0, view_size=32))
    assert source.facts.temperature == 4
    assert not any("temperature" in note for note in source.facts.notes)
    assert source.facts.policy == RecordedPolicy(view_height=32, view_width=32)
    check_labels(source, truth, exact=True)


def test_classes_without_images_need_names(tmp_path: Path) -> None:
    truth = write_fkd(tmp_path, **SMALL)
    directories = sorted(entry.name for entry in tmp_path.iterdir())
    assert len(directories) == 8
    with pytest.raises(LabelFileError, match="none of the 8 classes"):
        opened(tmp_path)
    source = opened(tmp_path, ImportOptions(recovery=Recovery.SPREAD, class_names=names(12)))
    check_labels(source, truth, exact=False)
    assert source.facts.hard_labels is not None
    assert [names(12)[own] for own in source.facts.hard_labels] == directories


def test_crop_counts_may_differ(tmp_path: Path) -> None:
    truth = write_fkd(tmp_path, **FULL_CLASSES, label_type="full")
    file = (tmp_path / image_names(12, 12)[4]).with_suffix(".tar")
    edit(file, rows(slice(1)))
    source = opened(tmp_path)
    assert source.facts.index.num_rows == len(truth) - 2
    labels = [source.read(part) for part in source.parts]
    assert [len(each) for each in labels] == [3] * 4 + [1] + [3] * 7
    np.testing.assert_array_equal(labels[5], truth.labels[[truth.row(5, s) for s in range(3)]])
    records = source.records()
    assert records is not None
    assert len(records) == len(truth) - 2


def test_images_give_the_ids(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    folder, _ = write_image_folder(images, samples=12, classes=4)
    # The image list turns their order round.
    listed = [path.relative_to(images).as_posix() for path in reversed(folder)]
    (tmp_path / "list.txt").write_text("\n".join(listed))
    truth = write_fkd(labels, samples=12, epochs=2, classes=4, label_type="full", names=listed)
    unsized = ImportOptions(images=images, image_list=tmp_path / "list.txt")
    # They are smaller than the views that are usual.
    with pytest.raises(InvalidRequestError, match="give --view-size, which is 224 if they were"):
        opened(labels, unsized)

    source = opened(labels, replace(unsized, view_size=224))

    check_labels(source, truth, exact=True)
    check_records(source, truth)
    assert not any("--images" in note for note in source.facts.notes)
    only_listed = opened(labels, ImportOptions(image_list=tmp_path / "list.txt"))
    check_labels(only_listed, truth, exact=True)


def test_images_must_be_those_of_the_labels(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    folder, _ = write_image_folder(images, samples=12, classes=4)
    listed = [path.relative_to(images).as_posix() for path in folder]
    write_fkd(labels, samples=12, epochs=2, classes=4, label_type="full", names=listed)
    options = ImportOptions(images=images)
    own = (labels / listed[3]).with_suffix(".tar")

    moved = own.with_name("other.tar")
    own.rename(moved)
    with pytest.raises(LabelFileError, match="other has labels, but there is no such image"):
        FkdImporter().open(labels, options)
    moved.unlink()
    with pytest.raises(LabelFileError) as raised:
        FkdImporter().open(labels, options)
    one_line(raised.value, str(labels), listed[3], "1 images")


def test_what_inspect_shows(tmp_path: Path) -> None:
    write_fkd(tmp_path, **SMALL)
    finding = finding_of(FkdImporter(), tmp_path)
    low, high = finding.inside.pop("sums")
    assert 0 < low <= high < 1
    assert finding.inside == {
        "images": 8,
        "classes": 8,
        "crops_per_image": 3,
        "labels": "marginal",
        "k": 5,
    }
    assert any("--recovery" in line for line in finding.missing)


def test_other_formats_are_not_ours(tmp_path: Path) -> None:
    assert FkdImporter().detect(tmp_path) is None
    assert FkdImporter().detect(tmp_path / "missing") is None
    write_sre2l(tmp_path / "sre2l", samples=8, epochs=2, batch_size=4, classes=12)
    assert FkdImporter().detect(tmp_path / "sre2l") is None


def test_the_recovery_must_be_said_where_rules_differ(tmp_path: Path) -> None:
    write_fkd(tmp_path, **FULL_CLASSES)
    with pytest.raises(InvalidRequestError, match=r"--recovery spread .* or renormalise"):
        opened(tmp_path, ImportOptions())


def test_a_directory_that_cannot_be_listed_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fkd(tmp_path, **FULL_CLASSES)
    importer = FkdImporter()
    whole = importer.open(tmp_path, SPREAD).facts.index.num_rows
    hidden = sorted(entry for entry in tmp_path.iterdir() if entry.is_dir())[1]
    with monkeypatch.context() as odd:
        unreadable(odd, hidden)
        with pytest.raises(
            LabelFileError, match=f"cannot list {hidden}: Permission denied; make it readable"
        ):
            importer.open(tmp_path, SPREAD)
    assert importer.open(tmp_path, SPREAD).facts.index.num_rows == whole


def test_foreign_files_are_named(tmp_path: Path) -> None:
    write_fkd(tmp_path, **FULL_CLASSES)
    (tmp_path / "train.log").touch()
    (tmp_path / names(12)[2] / ".DS_Store").touch()
    finding = finding_of(FkdImporter(), tmp_path)
    assert finding.foreign == ("train.log", "class_002/.DS_Store")
    with pytest.raises(LabelFileError, match=r"train\.log is no label"):
        FkdImporter().open(tmp_path, SPREAD)


def rows(chosen: slice) -> Callable[[list[Any]], None]:
    """The change that keeps some crops."""

    def change(three: list[Any]) -> None:
        three[:] = [column[chosen] for column in three]

    return change


def set_value(at: int, where: tuple[Any, ...], value: float) -> Callable[[list[Any]], None]:
    def change(three: list[Any]) -> None:
        three[at] = np.asarray(three[at]).copy()
        three[at][where] = value

    return change


def cut(at: int) -> Callable[[list[Any]], None]:
    def change(three: list[Any]) -> None:
        three[at] = three[at][:-1]

    return change


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (set_value(0, (1, 0), 0.999), LabelFileError, "crop 1: [0.999"),
        (set_value(0, (1, 2), np.nan), LabelFileError, "crop 1"),
        (set_value(0, (2, 3), 0.0), LabelFileError, "crop 2"),
        (set_value(0, (0, 1), -0.01), LabelFileError, "crop 0"),
        (cut(0), LabelFileError, "2 crops, 3 flips and 3 labels"),
        (cut(1), LabelFileError, "3 crops, 2 flips and 3 labels"),
        (cut(2), LabelFileError, "3 crops, 3 flips and 2 labels"),
        (set_value(2, (1, 0, 2), 12), LabelFileError, "crop 1: class ID 12.0 is none of the 12"),
        (set_value(2, (1, 0, 2), -1), LabelFileError, "crop 1: class ID -1.0"),
        (set_value(2, (1, 0, 2), 1.5), LabelFileError, "crop 1: class ID 1.5"),
        (set_value(2, (1, 0, 2), np.nan), LabelFileError, "crop 1: class ID nan"),
        (set_value(2, (2, 0, slice(None)), 3), LabelFileError, "crop 2: names one class twice"),
        (set_value(2, (1, 1, 0), np.inf), LabelValueError, "crop 1: no probabilities"),
        (set_value(2, (1, 1, 0), np.nan), LabelValueError, "crop 1: no probabilities"),
        (set_value(2, (1, 1, 0), -0.1), LabelValueError, "crop 1: no probabilities"),
        (set_value(2, (1, 1, 0), 1.1), LabelValueError, "crop 1: no probabilities"),
    ],
)
def test_bad_values_are_named(
    tmp_path: Path, change: Callable[[list[Any]], None], kind: type[DataError], says: str
) -> None:
    write_fkd(tmp_path, **FULL_CLASSES)
    file = (tmp_path / image_names(12, 12)[5]).with_suffix(".tar")
    edit(file, change)
    with pytest.raises(kind) as raised:
        FkdImporter().open(tmp_path, SPREAD)
    one_line(raised.value, str(file), says)


def test_a_flip_is_yes_or_no(tmp_path: Path) -> None:
    write_fkd(tmp_path, **FULL_CLASSES)
    file = (tmp_path / image_names(12, 12)[5]).with_suffix(".tar")
    coords, flip, label = load(file)
    torch.save([coords, flip.astype(np.int64), label], file)
    FkdImporter().open(tmp_path, SPREAD)
    torch.save([coords, flip.astype(np.int64) + 1, label], file)
    with pytest.raises(LabelFileError, match="a flip is neither 0 nor 1"):
        FkdImporter().open(tmp_path, SPREAD)


@pytest.mark.parametrize("label_type", ["full", "marginal_smoothing_k5"])
def test_one_file_of_another_form(tmp_path: Path, label_type: LabelType) -> None:
    write_fkd(tmp_path, **FULL_CLASSES, label_type=label_type)
    file = (tmp_path / image_names(12, 12)[5]).with_suffix(".tar")
    coords, flip, label = load(file)
    torch.save([coords, flip, label[..., :-1]], file)
    with pytest.raises(LabelFileError) as raised:
        FkdImporter().open(tmp_path, SPREAD)
    one_line(raised.value, str(file), "shape")
    torch.save([coords, flip], file)
    with pytest.raises(LabelFileError) as raised:
        FkdImporter().open(tmp_path, SPREAD)
    one_line(raised.value, str(file), "is not [coords")


def test_truncated_and_hostile_files(tmp_path: Path) -> None:
    write_fkd(tmp_path, **FULL_CLASSES)
    file = (tmp_path / image_names(12, 12)[5]).with_suffix(".tar")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LabelFileError, match=file.name):
        FkdImporter().open(tmp_path, SPREAD)
    torch.save([torch.nn.Linear(1, 1)], file)
    with pytest.raises(LabelFileError, match=file.name):
        FkdImporter().open(tmp_path, SPREAD)


def test_full_labels_are_checked_as_they_are_read(tmp_path: Path) -> None:
    write_fkd(tmp_path, **FULL_CLASSES, label_type="full")
    file = (tmp_path / image_names(12, 12)[5]).with_suffix(".tar")
    edit(file, lambda three: three[2][2].mul_(2))
    source = opened(tmp_path)
    with pytest.raises(LabelValueError) as raised:
        source.read(source.parts[5])
    one_line(raised.value, str(file), "crop 2", "no distribution")


def test_files_that_change_are_refused(tmp_path: Path) -> None:
    write_fkd(tmp_path, **FULL_CLASSES)
    source = opened(tmp_path)
    file = source.parts[5].path
    edit(file, rows(slice(1, None)))
    with pytest.raises(LabelFileError, match="changed since it was scanned"):
        source.read(source.parts[5])


def test_options_that_contradict_the_files(tmp_path: Path) -> None:
    write_fkd(tmp_path, **FULL_CLASSES, label_type="full")
    with pytest.raises(InvalidRequestError, match="12 classes, but 3 class names"):
        FkdImporter().open(tmp_path, ImportOptions(class_names=names(3)))


def test_names_with_dots(tmp_path: Path) -> None:
    listed = ["a/one.two.png", "a/two.png", "b/one.jpeg", "b/three.png"]
    (tmp_path / "list.txt").write_text("\n".join(listed))
    # As the producer names files, and as other tools would.
    own = ["a/one.tar", "a/two.tar", "b/one.tar", "b/three.tar"]
    truth = write_fkd(
        tmp_path / "labels", samples=4, epochs=2, classes=3, label_type="full", names=own
    )
    options = ImportOptions(image_list=tmp_path / "list.txt")
    check_labels(opened(tmp_path / "labels", options), truth, exact=True)
    (tmp_path / "labels" / "a" / "one.tar").rename(tmp_path / "labels" / "a" / "one.two.tar")
    check_labels(opened(tmp_path / "labels", options), truth, exact=True)
    (tmp_path / "list.txt").write_text("\n".join([*listed, "b/three.jpeg"]))
    with pytest.raises(LabelFileError, match="b/three may be one of several images"):
        opened(tmp_path / "labels", options)
