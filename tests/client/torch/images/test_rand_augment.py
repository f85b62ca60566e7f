"""RandAugment: every operation against what it means, written out by hand or by Pillow itself."""

import math
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from labelcast.augmentation import NO_OPERATION, OPERATIONS
from labelcast.errors import InvalidRequestError
from labelcast.torch.images import rand_augment as module
from labelcast.torch.images.rand_augment import FILL, apply_operation, rand_augment

Pixels = NDArray[np.uint8]
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
# An argument that changes pixels, for each operation that takes one.
MAGNITUDES = {
    "Rotate": 17.5,
    "Posterize": 3.0,
    "Solarize": 120.0,
    "SolarizeAdd": 60.0,
    "Color": 0.3,
    "Contrast": 1.7,
    "Brightness": 0.4,
    "Sharpness": 1.9,
    "ShearX": 0.2,
    "ShearY": -0.2,
    "TranslateXRel": 0.25,
    "TranslateYRel": -0.3,
}


def texture(height: int = 13, width: int = 17, *, channels: int = 3, seed: int = 0) -> Pixels:
    """Waves and noise, from 20 to 220, so that contrast has somewhere to go."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 3 + c) * np.cos(y / 2 - c) for c in range(channels)], axis=2)
    values = 120 + 70 * waves + rng.uniform(-30, 30, waves.shape)
    return values.round().astype(np.uint8)


def picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def applied(pixels: Pixels, name: str, magnitude: float = 0) -> Pixels:
    return np.array(apply_operation(picture(pixels), OPERATIONS.index(name), magnitude))


def as_tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize(
    ("name", "magnitude", "table"),
    [
        ("Invert", 0, [255 - v for v in range(256)]),
        ("Posterize", 8, list(range(256))),
        ("Posterize", 3, [v // 32 * 32 for v in range(256)]),
        ("Posterize", 1, [v // 128 * 128 for v in range(256)]),
        ("Posterize", 0, [0] * 256),
        ("Solarize", 256, list(range(256))),
        ("Solarize", 100, [v if v < 100 else 255 - v for v in range(256)]),
        ("Solarize", 0, [255 - v for v in range(256)]),
        ("SolarizeAdd", 0, list(range(256))),
        ("SolarizeAdd", 40, [v + 40 if v < 128 else v for v in range(256)]),
        ("SolarizeAdd", 200, [min(255, v + 200) if v < 128 else v for v in range(256)]),
        ("Brightness", 0, [0] * 256),
        ("Brightness", 0.5, [v // 2 for v in range(256)]),
        ("Brightness", 2, [min(255, 2 * v) for v in range(256)]),
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_value_by_value(name: str, magnitude: float, table: list[int], mode: str) -> None:
    pixels = RAMP if mode == "L" else np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2)
    assert np.array_equal(applied(pixels, name, magnitude), np.array(table, np.uint8)[pixels])


def test_autocontrast_stretches_each_channel() -> None:
    pixels = np.stack([RAMP // 2 + 10, RAMP // 4 + 100, RAMP], axis=2)
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    expected = (pixels.astype(float) - low) / (high - low) * 255
    assert np.abs(applied(pixels, "AutoContrast") - expected).max() < 1.01


def test_equalize_spreads_values_evenly() -> None:
    # Pillow leaves an image alone that has fewer than 256 pixels beside its brightest.
    values = np.repeat(np.array([10, 20, 30, 40], np.uint8), 255).reshape(20, 51)
    assert sorted(set(applied(values, "Equalize").ravel().tolist())) == [0, 85, 170, 255]


@pytest.mark.parametrize("name", ["Color", "Contrast", "Brightness", "Sharpness"])
def test_a_factor_of_one_changes_nothing(name: str) -> None:
    assert np.array_equal(applied(texture(), name, 1), texture())


def test_no_colour_is_grey_and_no_contrast_is_the_mean() -> None:
    pixels = texture()
    grey = np.array(picture(pixels).convert("L"))
    assert np.array_equal(applied(pixels, "Color", 0), np.repeat(grey[:, :, None], 3, axis=2))
    assert set(applied(pixels, "Contrast", 0).ravel().tolist()) == {int(grey.mean() + 0.5)}


@pytest.mark.parametrize(
    ("name", "share", "axis", "pixels_moved"),
    [
        ("TranslateXRel", 0.25, 1, 4),
        ("TranslateXRel", -0.25, 1, -4),
        ("TranslateYRel", 0.5, 0, 6),
        ("TranslateYRel", -0.5, 0, -6),
    ],
)
def test_translation_moves_whole_pixels_and_fills_behind(
    name: str, share: float, axis: int, pixels_moved: int
) -> None:
    pixels = texture(12, 16)
    result = np.moveaxis(applied(pixels, name, share), axis, 0)
    source = np.moveaxis(pixels, axis, 0)
    # Bicubic sampling at whole pixels is exact; a positive share shows what lies right or below.
    if pixels_moved > 0:
        assert np.array_equal(result[:-pixels_moved], source[pixels_moved:])
        assert (result[-pixels_moved:] == FILL).all()
    else:
        assert np.array_equal(result[-pixels_moved:], source[:pixels_moved])
        assert (result[:-pixels_moved] == FILL).all()


@pytest.mark.parametrize("name", ["ShearX", "ShearY"])
def test_shear_moves_each_line_by_its_number(name: str) -> None:
    pixels = texture(9, 9)
    # At factor 1 pixel 2 of line 2 looks at 2.5 + 2.5, halfway between the centres of 4 and 5.
    lines = applied(pixels, name, 1)
    source = pixels.astype(float)
    if name == "ShearY":
        lines, source = lines.swapaxes(0, 1), source.swapaxes(0, 1)
    bicubic = np.array([-1, 5, 5, -1]) / 8
    assert np.abs(lines[2, 2] - bicubic @ source[2, 3:7]).max() <= 1
    assert (lines[8, 1:] == FILL).all()
    assert np.array_equal(applied(pixels, name, 0), pixels)


def test_rotation_is_counter_clockwise_in_degrees() -> None:
    pixels = texture(11, 11)
    assert np.array_equal(applied(pixels, "Rotate", 90), np.rot90(pixels))
    assert (applied(pixels, "Rotate", 30)[0, 0] == FILL).all()
    # A bright spot right of the centre rises when the image turns by +30°.
    spot = np.zeros((41, 41), np.uint8)
    spot[19:22, 34:37] = 255
    turned = applied(spot, "Rotate", 30).astype(float)
    turned[turned == 117] = 0  # the fill
    y, x = (float((turned * axis).sum() / turned.sum()) for axis in np.mgrid[:41, :41])
    assert (x, y) == pytest.approx((20 + 15 * math.cos(math.pi / 6), 20 - 7.5), abs=0.1)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_operation_is_pillow_s(channels: int) -> None:
    image = picture(texture(24, 31, channels=channels))
    fill = FILL if channels == 3 else 117
    width, height = image.size

    def moved(*matrix: float) -> Image.Image:
        return image.transform(
            image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=fill
        )

    m = MAGNITUDES
    expected = {
        "AutoContrast": ImageOps.autocontrast(image),
        "Equalize": ImageOps.equalize(image),
        "Invert": ImageOps.invert(image),
        "Rotate": image.rotate(m["Rotate"], Image.Resampling.BICUBIC, fillcolor=fill),
        "Posterize": ImageOps.posterize(image, 3),
        "Solarize": ImageOps.solarize(image, 120),
        "SolarizeAdd": image.point([v + 60 if v < 128 else v for v in range(256)] * channels),
        "Color": ImageEnhance.Color(image).enhance(m["Color"]),
        "Contrast": ImageEnhance.Contrast(image).enhance(m["Contrast"]),
        "Brightness": ImageEnhance.Brightness(image).enhance(m["Brightness"]),
        "Sharpness": ImageEnhance.Sharpness(image).enhance(m["Sharpness"]),
        "ShearX": moved(1, m["ShearX"], 0, 0, 1, 0),
        "ShearY": moved(1, 0, 0, m["ShearY"], 1, 0),
        "TranslateXRel": moved(1, 0, m["TranslateXRel"] * width, 0, 1, 0),
        "TranslateYRel": moved(1, 0, 0, 0, 1, m["TranslateYRel"] * height),
    }
    assert tuple(expected) == OPERATIONS
    for number, name in enumerate(OPERATIONS):
        result = apply_operation(image, number, m.get(name, 0.0))
        assert result.mode == image.mode
        assert np.array_equal(np.array(result), np.array(expected[name])), name
        if (channels, name) != (1, "Color"):  # Grey has no colour to lose.
            assert not np.array_equal(np.array(result), np.array(image)), name


@pytest.mark.parametrize("channels", [1, 3])
def test_layers_are_applied_in_their_order(channels: int) -> None:
    pixels = texture(channels=channels)
    operations = np.array([OPERATIONS.index("SolarizeAdd"), NO_OPERATION, 2], np.uint8)
    magnitudes = np.array([100, 0, 0], np.float32)
    added = np.where(pixels < 128, np.minimum(255, pixels.astype(int) + 100), pixels)
    result = rand_augment(as_tensor(pixels), operations, magnitudes)
    assert result.dtype == torch.float32
    # Exactly the values that an 8-bit image has once it is a tensor.
    expected = as_tensor((255 - added).astype(np.uint8))
    assert torch.equal(result, expected)
    for shift in (-0.4, 0.4):
        nearby = as_tensor(pixels) + shift / 255
        assert torch.equal(rand_augment(nearby, operations, magnitudes), expected)


def test_nothing_to_do_leaves_any_image_alone() -> None:
    image = 9 * torch.randn(5, 3, 3)
    operations = np.full(2, NO_OPERATION, np.uint8)
    assert rand_augment(image, operations, np.zeros(2, np.float32)) is image


@pytest.mark.parametrize(
    "image",
    [torch.full((3, 2, 2), -2.0), torch.full((3, 2, 2), 1.5), torch.full((3, 2, 2), math.nan)],
)
def test_a_normalised_image_is_refused(image: Tensor) -> None:
    with pytest.raises(InvalidRequestError, match="needs images from 0 to 1"):
        rand_augment(image, np.array([2], np.uint8), np.zeros(1, np.float32))


def test_other_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    one = np.zeros(1, np.float32)
    with pytest.raises(InvalidRequestError, match="1 or 3 channels, not 2"):
        rand_augment(torch.zeros(2, 4, 4), np.array([2], np.uint8), one)
    with pytest.raises(InvalidRequestError, match="no RandAugment operation 16"):
        rand_augment(torch.zeros(3, 4, 4), np.array([16], np.uint8), one)
    monkeypatch.setitem(sys.modules, "PIL", None)
    module._operations.cache_clear()
    with pytest.raises(InvalidRequestError, match=r"pip install 'labelcast\[torch\]'"):
        rand_augment(torch.zeros(3, 4, 4), np.array([2], np.uint8), one)
    with pytest.raises(InvalidRequestError, match=r"pip install 'labelcast\[torch\]'"):
        apply_operation(picture(texture()), 2, 0)
