"""How large views are is asked for where images speak against what is usual, and never guessed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from labelcast.augmentation import RecordedPolicy
from labelcast.errors import InvalidRequestError
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.writers.edc import write_edc
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.hald import write_hald
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import write_lpqld
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.views import image_names

SAMPLES, CLASSES = 20, 5
SMALL: dict[str, Any] = {"samples": SAMPLES, "batch_size": 5, "classes": CLASSES, "epochs": 3}
TOLD = ImportOptions(num_samples=SAMPLES, class_names=tuple("abcde"), temperature=20.0)


def images(root: Path, *sizes: tuple[int, int]) -> Path:
    for number, name in enumerate(image_names(SAMPLES, CLASSES)):
        height, width = sizes[number % len(sizes)]
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height)).save(root / name)
    return root


def view_size(files: Path, options: ImportOptions) -> int:
    policy = Import.open(files, options).facts.policy
    assert isinstance(policy, RecordedPolicy)
    assert policy.view_height == policy.view_width
    return policy.view_height


def asked(files: Path, options: ImportOptions, *parts: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        Import.open(files, options)
    for part in parts:
        assert part in raised.value.message


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("mix", ["mixup", "none"])
@pytest.mark.parametrize(
    "write", [write_sre2l, write_lpld, write_lpqld, write_gvbsm, write_edc, write_hald]
)
def test_small_images_ask_for_it(write: Any, mix: Any, size: int, tmp_path: Path) -> None:
    write(tmp_path / "files", **SMALL, mix=mix, sizes=[(size, size)] * SAMPLES)
    folder = images(tmp_path / "images", (size, size))
    with_images = replace(TOLD, images=folder, class_names=None, num_samples=None)
    # Crops are whole pixels, which tell small images too.
    for options in (with_images, TOLD):
        asked(
            tmp_path / "files",
            options,
            f"{size} by {size} pixels",
            f"--view-size {size} if",
            " 224 if",
        )
        for given in (size, 224):
            assert view_size(tmp_path / "files", replace(options, view_size=given)) == given
    told = Import.open(tmp_path / "files", replace(TOLD, view_size=size))
    assert not any("pixels per side" in note for note in told.notes)


def test_boxes_that_reach_the_edge_of_small_images_tell_it(tmp_path: Path) -> None:
    size = 32
    sizes = [(size, size)] * SAMPLES
    write_sre2l(tmp_path / "files", **SMALL | {"epochs": 8}, view=size, sizes=sizes)
    folder = images(tmp_path / "images", (size, size))
    labels = Import.open(tmp_path / "files", ImportOptions(images=folder))
    told = "views are 32 pixels per side, as the farthest edge of 32 CutMix boxes says"
    assert told in labels.notes
    assert view_size(tmp_path / "files", ImportOptions(images=folder)) == size
    assert view_size(tmp_path / "files", ImportOptions(num_samples=SAMPLES)) == size


def test_few_boxes_do_not_tell_it(tmp_path: Path) -> None:
    sizes = [(64, 64)] * SAMPLES
    write_sre2l(tmp_path / "files", **SMALL | {"epochs": 1}, view=64, sizes=sizes)
    folder = images(tmp_path / "images", (64, 64))
    asked(tmp_path / "files", ImportOptions(images=folder), "--view-size 64 if")


def test_enlarged_views_reach_beyond_small_images(tmp_path: Path) -> None:
    sizes = [(32, 32)] * SAMPLES
    write_sre2l(tmp_path / "files", **SMALL | {"epochs": 8}, sizes=sizes)
    folder = images(tmp_path / "images", (32, 32))
    assert view_size(tmp_path / "files", ImportOptions(images=folder)) == 224


@pytest.mark.parametrize(("source", "view"), [((48, 80), 64), ((32, 32), 64)])
def test_boxes_beyond_small_images_do_not_make_views_of_the_usual_size(
    source: tuple[int, int], view: int, tmp_path: Path
) -> None:
    write_sre2l(tmp_path / "files", **SMALL | {"epochs": 1}, view=view, sizes=[source] * SAMPLES)
    folder = images(tmp_path / "images", source)
    asked(tmp_path / "files", ImportOptions(images=folder), "--view-size")
    given = ImportOptions(images=folder, view_size=view)
    assert view_size(tmp_path / "files", given) == view


@pytest.mark.parametrize("sizes", [[(224, 224)], [(300, 400), (240, 500)], [(500, 180), (90, 224)]])
def test_usual_images_have_usual_views(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    own = [sizes[number % len(sizes)] for number in range(SAMPLES)]
    write_sre2l(tmp_path / "files", **SMALL, mix="none", sizes=own)
    folder = images(tmp_path / "images", *sizes)
    for options in (ImportOptions(images=folder), ImportOptions(num_samples=SAMPLES)):
        assert view_size(tmp_path / "files", options) == 224


@pytest.mark.parametrize("sizes", [[(256, 256)], [(40, 60), (60, 40)]])
def test_other_images_ask_too(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    own = [sizes[number % len(sizes)] for number in range(SAMPLES)]
    write_sre2l(tmp_path / "files", **SMALL, mix="none", sizes=own)
    asked(tmp_path / "files", ImportOptions(images=images(tmp_path / "images", *sizes)), "--view-")
