"""Apple's reinforced data sets: views that can be drawn again, and those that cannot."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.augmentation import ForeignPolicy, RecordedPolicy
from labelcast.codec.topk import Recovery
from labelcast.errors import DataError, InvalidRequestError, LabelFileError, LabelValueError
from labelcast.label_set import RowOrder, SampleOrder
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.per_image import MlDrImporter
from labelcast_producers.formats.per_image.ml_dr import MlDrSource
from labelcast_producers.formats.source import ImportOptions, TopK
from tests.producers.formats.stored_files import edit
from tests.producers.formats.truth_checks import (
    check_labels,
    check_records,
    check_top_k,
    finding_of,
    names,
    one_line,
    open_own,
)
from tests.producers.formats.writers.apple_dr import write_apple_dr
from tests.producers.formats.writers.producer_pixels import folder_sizes, write_image_folder
from tests.producers.formats.writers.truth import Truth

SMALL: dict[str, Any] = {"samples": 11, "epochs": 3, "classes": 12, "k": 4}
LOST = ImportOptions(recovery=Recovery.SPREAD, class_names=names(12))


def with_images(directory: Path, **settings: Any) -> tuple[Path, ImportOptions, Truth]:
    """Labels of images that are there, with the options that name them."""
    paths, _ = write_image_folder(directory / "images", samples=12, classes=12)
    truth = write_apple_dr(
        directory / "labels",
        samples=12,
        epochs=3,
        classes=12,
        k=4,
        sizes=folder_sizes(paths),
        **settings,
    )
    options = ImportOptions(images=directory / "images", recovery=Recovery.SPREAD, view_size=32)
    return directory / "labels", options, truth


def opened(path: Path, options: ImportOptions) -> MlDrSource:
    return open_own(MlDrImporter(), path, options)


def change(file: Path, views_of: Callable[[list[Any]], None]) -> None:
    edit(file, lambda pair: views_of(pair[1]))


def test_crops_and_flips_become_records(tmp_path: Path) -> None:
    path, options, truth = with_images(tmp_path)

    source = opened(path, options)

    assert source.facts.policy == RecordedPolicy(view_height=32, view_width=32)
    assert source.facts.top_k == TopK(4, Recovery.SPREAD)
    assert source.facts.order is SampleOrder.GIVEN
    assert source.facts.index.row_order is RowOrder.SAMPLE_MAJOR
    assert source.facts.hard_labels is not None
    assert source.facts.hard_labels.tolist() == list(range(12))
    assert source.facts.class_names == names(12)
    check_labels(source, truth, exact=False)
    check_top_k(source, truth)
    # The truth has fractions in single precision.
    check_records(source, truth, rtol=1e-7)


def test_without_the_images_views_are_lost(tmp_path: Path) -> None:
    truth = write_apple_dr(tmp_path, **SMALL)

    source = opened(tmp_path, LOST)

    # No student can take these labels for those of whole images: nobody renders such views.
    assert isinstance(source.facts.policy, ForeignPolicy)
    assert source.records() is None
    (note,) = (note for note in source.facts.notes if "views are not" in note)
    assert "--images" in note
    check_labels(source, truth, exact=False)
    check_top_k(source, truth)


def as_released(views: list[Any]) -> None:
    """Names, lists and pairs with a partner, as the producer's own code saves them."""
    for view in views:
        crop = view["params"]["RandomResizedCrop"]
        flip = view["params"]["RandomHorizontalFlip"]
        values, ids = view["prob"]
        view["prob"] = (values.tolist(), ids.tolist())
        view["params"] = {
            "uint8": ((), ()),
            "random_resized_crop": (crop, (0, 0, 1, 1)),
            "random_horizontal_flip": (flip, not flip),
            "to_tensor": ((), ()),
            "rand_augment": (None, None),
            "mixup": None,
            "id2": 3,
        }


def test_params_as_the_producer_names_them(tmp_path: Path) -> None:
    path, options, truth = with_images(tmp_path)
    for file in path.iterdir():
        change(file, as_released)
    source = opened(path, options)
    check_labels(source, truth, exact=False)
    check_records(source, truth, rtol=1e-7)


@pytest.mark.parametrize("mixing", [False, True])
def test_compressed_parameters(tmp_path: Path, mixing: bool) -> None:
    """As all published configurations save them."""
    path, options, truth = with_images(tmp_path, compress=True, mixing=mixing, view=32)
    first = torch.load(path / "0.pth.tar", weights_only=False)[1][0]
    assert type(first["params"]) is list
    source = opened(path, options)
    assert isinstance(source.facts.policy, RecordedPolicy)
    check_labels(source, truth, exact=False)
    check_top_k(source, truth)
    check_records(source, truth, rtol=1e-7)


def mixed(views: list[Any]) -> None:
    _, crop, flip, _ = views[1]["params"]
    views[1]["params"] = [5, [crop, (0, 0, 4, 4)], [flip, True], 0.7]


def shorter(views: list[Any]) -> None:
    views[1]["params"].pop()


@pytest.mark.parametrize(
    ("edit", "says"), [(mixed, "mixup was applied"), (shorter, "not those that config.pth.tar")]
)
def test_compressed_views_that_cannot_be_drawn_again(
    tmp_path: Path, edit: Callable[[list[Any]], None], says: str
) -> None:
    path, options, truth = with_images(tmp_path, compress=True, mixing=True, view=32)
    change(path / "7.pth.tar", edit)
    source = opened(path, options)
    assert isinstance(source.facts.policy, ForeignPolicy)
    (note,) = (note for note in source.facts.notes if "views are not" in note)
    assert "7.pth.tar, view 1" in note
    assert says in note
    check_labels(source, truth, exact=False)


@pytest.mark.parametrize("name", ["center_crop", "sharpen"])
def test_what_the_configuration_applies_without_parameters(tmp_path: Path, name: str) -> None:
    path, options, truth = with_images(
        tmp_path, compress=True, view=32, transforms={name: {"enable": True, "size": 24}}
    )
    source = opened(path, options)
    assert source.records() is None
    (note,) = (note for note in source.facts.notes if "views are not" in note)
    assert f"{name} was applied" in note
    check_labels(source, truth, exact=False)
    without = tmp_path / "without"
    path, options, truth = with_images(
        without, compress=True, view=32, transforms={name: {"enable": False, "size": 24}}
    )
    check_records(opened(path, options), truth, rtol=1e-7)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"interpolation": 3}, "interpolation 3"),
        ({"interpolation": "bicubic"}, "interpolation bicubic"),
        ({"size": [32, 48]}, "resized to [32, 48]"),
        ({"interpolation": 2}, ""),
        ({"interpolation": "bilinear"}, ""),
    ],
)
def test_crops_that_were_resized_otherwise(
    tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    config = {"random_resized_crop": settings}
    path, options, truth = with_images(tmp_path, compress=True, view=32, transforms=config)
    source = opened(path, options)
    if says:
        assert source.records() is None
        assert any(says in note for note in source.facts.notes)
    else:
        check_records(source, truth, rtol=1e-7)


def test_compressed_parameters_need_their_configuration(tmp_path: Path) -> None:
    path, options, truth = with_images(tmp_path, compress=True, view=32)
    config = (path / "config.pth.tar").read_bytes()
    (path / "config.pth.tar").unlink()
    source = opened(path, options)
    assert source.records() is None
    (note,) = (note for note in source.facts.notes if "views are not" in note)
    assert "config.pth.tar, which names them, is not beside them" in note
    (path / "config.pth.tar").write_bytes(config)
    check_records(opened(path, options), truth, rtol=1e-7)


@pytest.mark.parametrize(
    "transforms",
    [{}, {"random_resized_crop": {"size": [48, 48]}}, {"random_resized_crop": {"size": [48]}}],
)
def test_the_configuration_tells_the_size_of_views(
    tmp_path: Path, transforms: dict[str, Any]
) -> None:
    path, options, _ = with_images(tmp_path, compress=True, view=48, transforms=transforms)
    with pytest.raises(InvalidRequestError, match=r"views have 48 pixels .* --view-size 48"):
        opened(path, options)
    opened(path, replace(options, view_size=48))
    labels = Import.open(path, replace(options, view_size=None))
    assert labels.facts.policy == RecordedPolicy(view_height=48, view_width=48)
    assert f"views are 48 pixels per side, as {path / 'config.pth.tar'} says" in labels.notes


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"rand_augment": [("Rotate", 9.0)]}, "rand_augment was applied"),
        ({"mixup": 0.3, "id2": 1}, "mixup was applied"),
        ({"random_erase": ((1, 2, 3, 4), None)}, "random_erase was applied"),
        ({"resize": 256}, "resize was applied"),
        ({"center_crop": ((), ())}, "center_crop was applied"),
        ({"center_crop": ()}, "center_crop was applied"),
        ({"RandomHorizontalFlip": "yes"}, "RandomHorizontalFlip holds no flip"),
        ({"RandomResizedCrop": (1, 2)}, "no RandomResizedCrop"),
        (None, "compressed"),
    ],
)
def test_other_transforms_cannot_be_drawn_again(
    tmp_path: Path, params: dict[str, Any] | None, says: str
) -> None:
    path, options, truth = with_images(tmp_path)

    def edit(views: list[Any]) -> None:
        views[1]["params"] = [None, (1, 2, 3, 4)] if params is None else views[1]["params"] | params

    change(path / "7.pth.tar", edit)
    source = opened(path, options)
    (note,) = (note for note in source.facts.notes if "views are not" in note)
    assert "7.pth.tar, view 1" in note
    assert says in note
    assert isinstance(source.facts.policy, ForeignPolicy)
    check_labels(source, truth, exact=False)


def test_numbers_of_views_may_differ(tmp_path: Path) -> None:
    write_apple_dr(tmp_path, **SMALL)
    change(tmp_path / "10.pth.tar", lambda views: views.pop())
    (tmp_path / "4.pth.tar").unlink()
    index = opened(tmp_path, LOST).facts.index
    assert index.num_rows == 10 * 3 - 1
    assert index.sample_ids.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]


def test_the_producers_configuration_tells_the_classes(tmp_path: Path) -> None:
    write_apple_dr(tmp_path, **SMALL)
    options = ImportOptions(recovery=Recovery.ZERO)
    with pytest.raises(InvalidRequestError, match="how many classes"):
        opened(tmp_path, options)
    torch.save({"num_classes": 12, "reinforce": {"num_samples": 3}}, tmp_path / "config.pth.tar")
    assert opened(tmp_path, options).facts.num_classes == 12


def test_what_inspect_shows(tmp_path: Path) -> None:
    write_apple_dr(tmp_path, **SMALL)
    finding = finding_of(MlDrImporter(), tmp_path)
    assert finding.inside == {"images": 11, "views_per_image": 3, "k": 4}
    assert any("--images" in line for line in finding.missing)


def test_other_files_are_not_ours(tmp_path: Path) -> None:
    assert MlDrImporter().detect(tmp_path) is None
    torch.save([1, 2], tmp_path / "1.pth.tar")
    assert MlDrImporter().detect(tmp_path) is None


def test_foreign_files_are_named(tmp_path: Path) -> None:
    write_apple_dr(tmp_path, **SMALL)
    (tmp_path / "5.jb").touch()
    (tmp_path / ".DS_Store").touch()
    finding = finding_of(MlDrImporter(), tmp_path)
    assert finding.foreign == (".DS_Store", "5.jb")
    with pytest.raises(LabelFileError, match=r"\.DS_Store is no label"):
        MlDrImporter().open(tmp_path, LOST)


def test_the_recovery_must_be_said(tmp_path: Path) -> None:
    write_apple_dr(tmp_path, **SMALL)
    with pytest.raises(InvalidRequestError, match="--recovery"):
        opened(tmp_path, ImportOptions(class_names=names(12)))


def prob(values: Any = None, ids: Any = None) -> Callable[[list[Any]], None]:
    def edit(views: list[Any]) -> None:
        old_values, old_ids = views[2]["prob"]
        views[2]["prob"] = (
            old_values if values is None else values,
            old_ids if ids is None else ids,
        )

    return edit


@pytest.mark.parametrize(
    ("edit", "kind", "says"),
    [
        (prob(ids=[0, 1, 2, 12]), LabelFileError, "view 2: class ID 12"),
        (prob(ids=[0, 1, 2, -1]), LabelFileError, "view 2: class ID -1"),
        (prob(ids=[0, 1, 2, 2]), LabelFileError, "view 2: names one class twice"),
        (prob(ids=[0, 1, 2]), LabelFileError, "view 2: prob is not"),
        (prob(ids=[[0, 1], [2]]), LabelFileError, "view 2: prob is not"),
        (prob([0.1] * 3, [0, 1, 2]), LabelFileError, "different numbers of classes"),
        (prob([0.5, 0.5, 0.5, 0.0]), LabelValueError, "view 2: no probabilities"),
        (prob([0.5, float("nan"), 0.1, 0.0]), LabelValueError, "view 2: no probabilities"),
        (prob([0.5, -0.1, 0.1, 0.0]), LabelValueError, "view 2: no probabilities"),
        (lambda views: views[2].pop("prob"), LabelFileError, "is not (ID, views"),
    ],
)
def test_bad_values_are_named(
    tmp_path: Path, edit: Callable[[list[Any]], None], kind: type[DataError], says: str
) -> None:
    write_apple_dr(tmp_path, **SMALL)
    change(tmp_path / "6.pth.tar", edit)
    with pytest.raises(kind) as raised:
        MlDrImporter().open(tmp_path, LOST)
    one_line(raised.value, str(tmp_path / "6.pth.tar"), says)


def test_files_that_contradict_others(tmp_path: Path) -> None:
    write_apple_dr(tmp_path, **SMALL)
    file = tmp_path / "6.pth.tar"
    whole = file.read_bytes()

    def fewer(views: list[Any]) -> None:
        for view in views:
            view["prob"] = tuple(each[:3] for each in view["prob"])

    change(file, fewer)
    with pytest.raises(LabelFileError, match="another number of classes than"):
        opened(tmp_path, LOST)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LabelFileError, match=r"6\.pth\.tar"):
        opened(tmp_path, LOST)
    file.write_bytes((tmp_path / "5.pth.tar").read_bytes())
    with pytest.raises(LabelFileError, match=r"6\.pth\.tar is of image 5"):
        opened(tmp_path, LOST)


def test_crops_must_be_of_the_images(tmp_path: Path) -> None:
    path, options, _ = with_images(tmp_path)

    def edit(views: list[Any]) -> None:
        views[0]["params"]["RandomResizedCrop"] = (0, 0, 500, 10)

    change(path / "3.pth.tar", edit)
    with pytest.raises(LabelFileError) as raised:
        opened(path, options)
    one_line(raised.value, "3.pth.tar, view 0", "image_0003.png", "500.0")


def test_ids_must_be_of_the_images(tmp_path: Path) -> None:
    path, options, _ = with_images(tmp_path)
    (path / "11.pth.tar").rename(path / "12.pth.tar")
    with pytest.raises(LabelFileError, match="of image 12, but there are 12"):
        opened(path, options)


def test_an_image_that_is_none(tmp_path: Path) -> None:
    path, options, _ = with_images(tmp_path)
    (image,) = (tmp_path / "images").rglob("image_0003.png")
    good = image.read_bytes()
    image.write_bytes(b"nothing")
    says = r"image_0003\.png cannot be read as an image: .*; replace it$"
    with pytest.raises(LabelFileError, match=says):
        opened(path, options)
    image.write_bytes(good)
    opened(path, options)


def test_files_that_change_are_refused(tmp_path: Path) -> None:
    write_apple_dr(tmp_path, **SMALL)
    source = opened(tmp_path, LOST)
    change(source.parts[5].path, lambda views: views.pop())
    with pytest.raises(LabelFileError, match="changed since it was scanned"):
        source.read(source.parts[5])
    assert np.isfinite(source.read(source.parts[4])).all()
