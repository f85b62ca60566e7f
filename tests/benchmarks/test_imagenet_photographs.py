"""The photographs of the ImageNet benchmark: no thing in both parts, and the right labels."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.imagenet import photographs, teacher
from benchmarks.imagenet.composites import composite
from benchmarks.imagenet.folding import fold
from benchmarks.imagenet.label_facts import label_facts
from benchmarks.imagenet.parts import Part
from benchmarks.imagenet.photographs import (
    Photographs,
    of_part,
    stamp_names,
    thing,
)
from benchmarks.imagenet.picture_files import hard_labels
from benchmarks.imagenet.pictures import Pictures
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.preparation import prepare
from benchmarks.imagenet.settings import CLASSES, FULL, MIX_BATCH, QUICK
from benchmarks.imagenet.teacher_check import KNOWN, check_teacher
from labelcast.torch import SampleTable
from labelcast_producers.relabel.recipes import RECIPES
from labelcast_producers.relabel.relabeller import relabel


def write_stamp(root: Path, name: str, size: tuple[int, int] = (60, 40)) -> None:
    path = root / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0], 4), dtype=np.uint8)
    pixels[..., 0] = 255
    pixels[: size[1] // 2, :, 3] = 255
    Image.fromarray(pixels).save(path)


def test_drawings_letters_and_blurs_are_no_photographs(tmp_path: Path) -> None:
    for name in ("animals/fish/cod", "symbols/asl/a", "town/cartoon/shop", "food/pizza"):
        write_stamp(tmp_path, name)
    write_stamp(tmp_path, "animals/fish/cod_mirror")
    write_stamp(tmp_path, "animals/fish/tiny", (39, 20))
    assert stamp_names(tmp_path) == ["animals/fish/cod.png"]


def test_photographs_of_one_thing_are_in_one_part() -> None:
    names = [f"animals/{kind}{copy}.png" for kind in "abcdefgh" for copy in ("", "-2", "_old", "3")]
    train, held_out = (of_part(part, names, group=thing) for part in (Part.TRAIN, Part.HELD_OUT))
    assert sorted(train + held_out) == sorted(names)
    assert len(held_out) == 8
    assert not {thing(name) for name in train} & {thing(name) for name in held_out}
    assert of_part(Part.TRAIN, names[::-1], group=thing) == train


def a_part(root: Path) -> Photographs:
    write_stamp(root, "thing")
    Image.new("RGB", (900, 800), (0, 0, 255)).save(root / "wall.png")
    return Photographs(["thing.png"], ["wall.png"], root, root)


def test_pictures_show_the_thing_on_the_wallpaper_and_are_the_same_every_time(
    tmp_path: Path,
) -> None:
    part = a_part(tmp_path)
    picture, stamp, wallpaper = composite(part, Part.TRAIN, 5, 64)
    assert (stamp, wallpaper, picture.shape) == ("thing.png", "wall.png", (64, 64, 3))
    assert np.array_equal(picture, composite(part, Part.TRAIN, 5, 64)[0])
    assert not np.array_equal(picture, composite(part, Part.HELD_OUT, 5, 64)[0])
    red = (picture == (255, 0, 0)).all(axis=2)
    # Its upper half alone: 50 to 95 % of a side wide, a third as high.
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert 30 <= len(columns) <= 62
    assert len(rows) == pytest.approx(len(columns) / 3, abs=3)
    assert (picture == (0, 0, 255)).all(axis=2).sum() > 1000


class Padding(nn.Conv2d):
    """A convolution that pads in a step of its own, as those of the Lite networks do."""

    def __init__(
        self, channels: tuple[int, int], stride: int, padding: tuple[int, int, int, int] | None
    ) -> None:
        super().__init__(*channels, 3, stride, bias=False)
        self.static_padding = nn.ZeroPad2d(padding) if padding else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.static_padding(images))


class Lite(nn.Module):
    """The names that are folded, once each kind of padding."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Padding((3, 8), 2, (0, 1, 0, 1)), nn.BatchNorm2d(8)
        self._conv_head, self._bn1 = Padding((8, 6), 1, (1, 1, 1, 1)), nn.BatchNorm2d(6)
        self._project_conv, self._bn2 = Padding((6, 5), 1, None), nn.BatchNorm2d(5)
        self._swish = nn.ReLU6()

    def forward(self, images: Tensor) -> Tensor:
        stem = self._swish(self._bn0(self._conv_stem(images)))
        head = self._swish(self._bn1(self._conv_head(stem)))
        logits: Tensor = self._bn2(self._project_conv(head)).mean(dim=(2, 3))
        return logits


def test_a_folded_network_is_the_same_function() -> None:
    torch.manual_seed(0)
    network = Lite()
    images = torch.rand(16, 3, 18, 18) * 4 - 2
    for _ in range(3):
        network(images)
    expected = network.eval()(images)
    folded = fold(network)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), expected.detach(), rtol=1e-4, atol=1e-5)


class Reader(nn.Module):
    """Tells a class from the red of an image's middle: stamps of distinct reds are told apart."""

    def __init__(self, classes: list[int], wrong: int = 0) -> None:
        super().__init__()
        self._classes, self._wrong = classes, wrong

    def forward(self, images: Tensor) -> Tensor:
        logits = torch.zeros(len(images), CLASSES)
        reds = (images[:, 0, 112, 112] * 255).round().long() - 1
        for row, red in enumerate(reds.tolist()):
            logits[row, self._classes[red] if row >= self._wrong else 999] = 1.0
        return logits


def test_a_teacher_that_does_not_know_what_it_must_is_refused(tmp_path: Path) -> None:
    for number, name in enumerate(KNOWN):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (50, 50), (number + 1, 0, 0, 255)).save(path)
    classes = [number for number, _ in KNOWN.values()]
    assert len(set(classes)) == len(classes)
    found = check_teacher(Reader(classes), tmp_path)
    assert found == {"things": len(KNOWN), "top1": 1.0, "top5": 1.0}
    with pytest.raises(ValueError, match="names 79% of 48 known things"):
        check_teacher(Reader(classes, wrong=10), tmp_path)
    with pytest.raises(ValueError, match="not 1,000"):
        check_teacher(nn.Flatten(), tmp_path)


def test_a_teacher_that_is_missing_or_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "_WEIGHTS_PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match="not installed; run `make bench-imagenet`"):
        teacher.load()
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "other_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / teacher._WEIGHTS_FILE).write_bytes(b"others")
    monkeypatch.setattr(teacher, "_WEIGHTS_PACKAGE", "other_weights")
    with pytest.raises(ValueError, match="has digest"):
        teacher.load()


class Brightest(nn.Module):
    """Its likeliest of three classes is the brightest channel."""

    def forward(self, images: Tensor) -> Tensor:
        return 20 * images.mean(dim=(2, 3)) - 3


def test_pictures_are_a_data_set_whose_hard_labels_are_the_teachers(tmp_path: Path) -> None:
    pixels = np.zeros((6, 16, 16, 3), dtype=np.uint8)
    pixels[np.arange(6), :, :, np.arange(6) % 3] = 255
    hard = hard_labels(Brightest(), pixels)
    assert hard.tolist() == [0, 1, 2, 0, 1, 2]
    np.save(tmp_path / "train.npy", pixels)
    names = [str(number) for number in range(6)]
    facts = {"stamps": names, "wallpapers": names[::-1], "hard_labels": hard.tolist()}
    (tmp_path / "train.json").write_text(json.dumps(facts))
    pictures = Pictures.open(str(tmp_path), "train", count=5)
    image, label = pictures[1]
    assert (len(pictures), label, pictures.stamps[1], pictures.wallpapers[1]) == (5, 1, "1", "4")
    assert image.mean(dim=(1, 2)).tolist() == [0.0, 1.0, 0.0]
    assert SampleTable(pictures).hard_labels().tolist() == [0, 1, 2, 0, 1]


class Thousand(nn.Module):
    """`Brightest` among a thousand classes."""

    def forward(self, images: Tensor) -> Tensor:
        rest = torch.full((len(images), CLASSES - 3), -30.0)
        return torch.cat([20 * images.mean(dim=(2, 3)), rest], dim=1)


def test_facts_say_how_spread_labels_are_and_how_often_the_hard_class_is_likeliest(
    tmp_path: Path,
) -> None:
    pixels = np.zeros((4, 16, 16, 3), dtype=np.uint8)
    pixels[:, :, :, 0] = 255
    pictures = Pictures(pixels, ["a"] * 4, ["b"] * 4, np.array([0, 0, 0, 1]))
    relabel(Thousand(), SampleTable(pictures), None, seeds=2, out=tmp_path, teacher_name="t")
    facts = label_facts(tmp_path, block_rows=3)
    assert facts["labels"] == 8
    assert facts["entropy_nats"] == pytest.approx(0.0, abs=1e-3)
    assert facts["hard_class_share"] == 0.75
    assert facts["hard_class_mass"] == pytest.approx(0.75, abs=1e-3)


def test_the_full_run_is_large_enough() -> None:
    # One seed in six is held out from fitting.
    assert FULL.pictures * FULL.seeds * 5 // 6 >= 60_000
    assert FULL.tested_pictures * FULL.tested_seeds >= 10_000
    # Whole batches, all of one size, as students of RDED have them.
    assert FULL.pictures % MIX_BATCH == FULL.rded_pictures % MIX_BATCH == 0
    assert RECIPES["rded"].batch_size == MIX_BATCH


def test_labels_of_other_settings_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(QUICK.as_json() | {"seeds": 9}))
    with pytest.raises(ValueError, match="other settings; delete it"):
        prepare(Place(QUICK, tmp_path), tmp_path, jobs=1)


def test_both_packages_are_pinned() -> None:
    for package in (photographs.STAMPS, photographs.WALLPAPERS):
        assert len(bytes.fromhex(package.sha256)) == 32
