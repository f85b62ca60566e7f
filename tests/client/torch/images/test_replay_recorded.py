"""Recorded views → pixels, against what a producer does with Pillow, written out here again."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from labelcast.augmentation import NO_OPERATION, Mix, RecordedPolicy, RecordedViews
from labelcast.errors import InvalidRequestError
from labelcast.torch.images.rand_augment import apply_operation
from labelcast.torch.images.replay_recorded import mixed, render_recorded, shuffle_patches, unmixed

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
# Pillow rounds to 8 bits after the columns and again after the rows: half a step each.
WITHIN = 1 / 255 + 2e-5
SIZES = [(23, 31), (32, 32), (17, 64), (63, 19), (41, 40), (100, 75), (9, 9), (33, 21)]
POLICY = RecordedPolicy(view_height=20, view_width=24)

Pixels = NDArray[np.uint8]


def texture(height: int, width: int, channels: int = 3, seed: int = 0) -> Pixels:
    """Waves, edges and noise, shape (height, width, channels)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 2 + c) * np.cos(y / 3 - c) for c in range(channels)], axis=2)
    boards = ((x // 4 + y // 3) % 2)[:, :, None] * 60
    values = 90 + 60 * waves + boards + rng.uniform(-40, 40, waves.shape)
    return np.asarray(values.clip(0, 255).round(), dtype=np.uint8)


def as_tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1).float() / 255


def as_picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def plain(count: int, policy: RecordedPolicy, **columns: Any) -> RecordedViews:
    ids = np.arange(count, dtype=np.uint64)
    return replace(RecordedViews.plain(ids, np.zeros(count, np.uint32), policy), **columns)


def crops(sizes: list[tuple[int, int]], seed: int, dtype: type = np.float32) -> NDArray[Any]:
    """Whole-pixel crops as a producer keeps them: fractions in single or half precision."""
    rng = np.random.default_rng(seed)
    rows = []
    for size in sizes:
        ends = [sorted(rng.choice(side + 1, 2, replace=False)) for side in size]
        (top, bottom), (left, right) = ends
        height, width = size
        extents = ((bottom - top) / height, (right - left) / width)
        rows.append([top / height, left / width, *extents])
    return np.array(rows, dtype=dtype).astype(np.float64)


def producer(
    policy: RecordedPolicy, views: RecordedViews, at: int, picture: Image.Image
) -> Image.Image:
    """One unmixed view, by Pillow alone."""
    for operation, magnitude in zip(views.operations[at], views.magnitudes[at], strict=True):
        picture = apply_operation(picture, int(operation), float(magnitude))
    width, height = picture.size
    i, j, h, w = (float(v) for v in views.crop[at] * [height, width, height, width])
    picture = picture.crop((j, i, j + w, i + h))
    picture = picture.resize((policy.view_width, policy.view_height), Image.Resampling.BILINEAR)
    if views.flip[at]:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture


def produced(policy: RecordedPolicy, views: RecordedViews, pixels: list[Pixels]) -> Tensor:
    pictures = [producer(policy, views, at, as_picture(one)) for at, one in enumerate(pixels)]
    return torch.stack([as_tensor(np.array(picture)) for picture in pictures])


def distance(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    return float((actual.cpu() - expected.cpu()).abs().max())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("view", [(20, 24), (7, 5), (64, 64)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_views_are_the_producer_s(
    view: tuple[int, int], channels: int, dtype: type, device: str
) -> None:
    policy = RecordedPolicy(view_height=view[0], view_width=view[1])
    pixels = [texture(*size, channels, seed=at) for at, size in enumerate(SIZES)]
    for seed in range(5):
        flip = np.random.default_rng(seed).random(len(SIZES)) < 0.5
        views = plain(len(SIZES), policy, crop=crops(SIZES, seed, dtype), flip=flip)
        images = [as_tensor(one).to(device) for one in pixels]
        rendered = render_recorded(policy, views, images, None, None)
        assert rendered.device.type == device
        assert distance(rendered, produced(policy, views, pixels)) <= WITHIN


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(20, 24), (29, 31)])
def test_a_crop_of_the_view_s_size_is_exact(size: tuple[int, int], flip: bool) -> None:
    pixels = texture(*size)
    crop = np.array([[(size[0] - 20) / size[0], 0, 20 / size[0], 24 / size[1]]])
    views = plain(1, POLICY, crop=crop, flip=np.array([flip]))
    expected = as_tensor(pixels[size[0] - 20 :, :24])
    rendered = unmixed(POLICY, views, [as_tensor(pixels)])[0]
    assert torch.equal(rendered, expected.flip(2) if flip else expected)


def test_images_may_be_a_stack_and_of_any_range() -> None:
    stack = 40 * torch.randn(3, 5, 30, 30, generator=torch.Generator().manual_seed(0))
    views = plain(3, POLICY, crop=crops([(30, 30)] * 3, 1))
    assert torch.equal(unmixed(POLICY, views, stack), unmixed(POLICY, views, list(stack)))
    mean, deviation = 0.4, 0.2
    scaled = unmixed(POLICY, views, [(one - mean) / deviation for one in stack])
    assert distance(scaled, (unmixed(POLICY, views, stack) - mean) / deviation) < 1e-3


@pytest.mark.parametrize(
    ("fraction", "edge"), [(0.1, 0), (0.3, 2), (0.5, 2), (0.7, 4), (0.32, 2), (0.49, 2), (0.28, 1)]
)
def test_edges_are_rounded_halves_to_even(fraction: float, edge: int) -> None:
    assert edge == round(fraction * 5)
    pixels = texture(5, 5)
    views = plain(1, POLICY, crop=np.array([[0, fraction, 1, 1 - fraction]]))
    whole = plain(1, POLICY)
    expected = unmixed(POLICY, whole, [as_tensor(pixels[:, edge:])])
    assert torch.equal(unmixed(POLICY, views, [as_tensor(pixels)]), expected)


def test_a_crop_that_half_precision_puts_outside_is_cut_off() -> None:
    pixels = texture(4, 2000)
    views = plain(1, POLICY, crop=np.array([[0, 0.7, 1, 0.3005]]))
    expected = unmixed(POLICY, plain(1, POLICY), [as_tensor(pixels[:, 1400:])])
    assert torch.equal(unmixed(POLICY, views, [as_tensor(pixels)]), expected)


@pytest.mark.parametrize("crop", [[0, 0, 0.01, 1], [0, 0, 1, 0.01], [1.2, 0, 0.5, 1]])
def test_a_crop_without_pixels_is_refused(crop: list[float]) -> None:
    views = plain(3, POLICY, crop=np.array([[0, 0, 1, 1], crop, crop]))
    with pytest.raises(InvalidRequestError, match="the crop of view 1 holds no pixel") as caught:
        unmixed(POLICY, views, [torch.rand(3, 30, 40)] * 3)
    assert caught.value.facts == {"view": "1"}


def test_cutmix_shows_the_partner_inside_the_box() -> None:
    policy = replace(POLICY, mix=Mix.CUTMIX)
    pixels = [texture(*size, seed=at) for at, size in enumerate(SIZES)]
    count = len(pixels)
    order = np.roll(np.arange(count), 3)
    boxes = np.array([[at, 2 * at, at + 6, 2 * at + 9] for at in range(count)], np.int32)
    boxes[2] = 0
    flip = np.arange(count) % 2 == 0
    views = plain(count, policy, crop=crops(SIZES, 7), flip=flip, box=boxes)
    images = [as_tensor(one) for one in pixels]
    rendered = render_recorded(policy, views, images, views[order], [images[at] for at in order])
    expected = produced(policy, views, pixels)
    alone = expected.clone()
    for at, (top, left, bottom, right) in enumerate(boxes.tolist()):
        expected[at, :, top:bottom, left:right] = alone[order[at], :, top:bottom, left:right]
    assert distance(rendered, expected) <= WITHIN
    assert torch.equal(rendered[2], unmixed(policy, views, images)[2])
    own = unmixed(policy, views, images)
    assert torch.equal(mixed(policy, views, own, own[order]), rendered)


def test_mixup_weighs_view_and_partner() -> None:
    policy = replace(POLICY, mix=Mix.MIXUP)
    pixels = [texture(*size, seed=at) for at, size in enumerate(SIZES)]
    lam = np.linspace(0, 1, len(pixels))
    views = plain(len(pixels), policy, crop=crops(SIZES, 5), lam=lam)
    order = np.arange(len(pixels))[::-1].copy()
    images = [as_tensor(one) for one in pixels]
    rendered = render_recorded(policy, views, images, views[order], [images[at] for at in order])
    alone = produced(policy, views, pixels)
    share = torch.from_numpy(lam)[:, None, None, None].float()
    assert distance(rendered, share * alone + (1 - share) * alone[order]) <= WITHIN
    own = unmixed(policy, views, images)
    assert torch.equal(rendered[-1], own[-1])
    assert torch.equal(rendered[0], own[order[0]])


@pytest.mark.parametrize("mix", Mix)
def test_partners_are_needed_where_they_show(mix: Mix) -> None:
    policy = replace(POLICY, mix=mix)
    images = [as_tensor(texture(20, 24))] * 2
    views = plain(2, policy)
    alone = torch.stack(images)
    assert torch.equal(render_recorded(policy, views, images, None, None), alone)
    assert torch.equal(mixed(policy, views, alone, torch.zeros_like(alone)), alone)
    views.lam[1], views.box[1] = 0.5, [0, 0, 5, 5]
    if mix is Mix.NONE:
        assert torch.equal(render_recorded(policy, views, images, None, None), alone)
        return
    for partners in [(None, None), (views, None), (None, images), (views[:1], images[:1])]:
        with pytest.raises(InvalidRequestError, match="image of every partner"):
            render_recorded(policy, views, images, *partners)


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (8, 11), (10, 13)])
@pytest.mark.parametrize("grid", [2, 3])
def test_whole_columns_and_rows_are_shuffled_as_rded_does(size: tuple[int, int], grid: int) -> None:
    image = as_tensor(texture(*size))
    rng = np.random.default_rng(grid)
    for _ in range(6):
        rows, columns = rng.permutation(grid), rng.permutation(grid)
        expected = image
        for axis, order in ((2, columns), (1, rows)):
            edges = [at * (size[axis - 1] // grid) for at in range(grid)] + [size[axis - 1]]
            strips = [expected.narrow(axis, a, b - a) for a, b in pairwise(edges)]
            expected = torch.cat([strips[at] for at in order], axis)
        patches = (rows[:, None] * grid + columns).reshape(-1).astype(np.uint8)
        assert torch.equal(shuffle_patches(image, patches, grid), expected)


def test_any_order_of_equal_patches_and_only_what_fits_of_others() -> None:
    image = torch.arange(16.0).reshape(1, 4, 4)
    shuffled = shuffle_patches(image, np.array([3, 0, 2, 1], np.uint8), 2)
    assert shuffled[0].tolist() == [
        [10, 11, 0, 1],
        [14, 15, 4, 5],
        [8, 9, 2, 3],
        [12, 13, 6, 7],
    ]
    wide = torch.arange(20.0).reshape(1, 4, 5)
    assert shuffle_patches(wide, np.array([0, 1, 3, 2], np.uint8), 2).shape == wide.shape
    tall = wide.swapaxes(1, 2)
    for uneven, patches in ((wide, [0, 2, 1, 3]), (tall, [0, 2, 1, 3]), (tall, [3, 0, 2, 1])):
        with pytest.raises(InvalidRequestError, match="do not fit together in an image of"):
            shuffle_patches(uneven, np.array(patches, np.uint8), 2)


def test_patches_are_shuffled_before_the_crop() -> None:
    policy = RecordedPolicy(view_height=4, view_width=4, patch_grid=2)
    pixels = texture(8, 8)
    patches = np.array([[3, 2, 1, 0], [0, 1, 2, 3]], np.uint8)
    views = plain(2, policy, patches=patches, crop=np.tile([0, 0, 0.5, 0.5], (2, 1)))
    rendered = unmixed(policy, views, [as_tensor(pixels)] * 2)
    assert torch.equal(rendered[0], as_tensor(pixels[4:, 4:]))
    assert torch.equal(rendered[1], as_tensor(pixels[:4, :4]))


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_come_first(channels: int) -> None:
    policy = replace(POLICY, operations=2)
    pixels = [texture(*size, channels, seed=at) for at, size in enumerate(SIZES)]
    rng = np.random.default_rng(3)
    # Rotate, Posterize, Brightness, ShearX, nothing.
    operations = rng.choice([3, 4, 9, 11, NO_OPERATION], (len(SIZES), 2)).astype(np.uint8)
    arguments = {3: -20.0, 4: 3.0, 9: 1.5, 11: 0.2, NO_OPERATION: 0.0}
    magnitudes = np.vectorize(arguments.get)(operations).astype(np.float32)
    views = plain(
        len(SIZES), policy, crop=crops(SIZES, 2), operations=operations, magnitudes=magnitudes
    )
    rendered = unmixed(policy, views, [as_tensor(one) for one in pixels])
    assert distance(rendered, produced(policy, views, pixels)) <= WITHIN


@pytest.mark.parametrize(("height", "width"), [(20, 24), (25, 29), (31, 20)])
def test_cutout_fills_what_pillow_fills(height: int, width: int) -> None:
    policy = RecordedPolicy(view_height=height, view_width=width, cutout=True)
    pixels = texture(height, width)
    extents = [(10, 12), (1, 1), (5, 7), (20, 20), (2, 3), (14, 14)]
    drawn = [
        [y, x, *extent, (40 * at) % 256, 255 - 30 * at, 3 * at]
        for at, (y, x, extent) in enumerate(
            zip([0, 10, 19, 7, 3, 12], [0, 23, 5, 11, 20, 12], extents, strict=True)
        )
    ]
    fractions = np.array(drawn, np.float32)
    fractions[:, :4] /= np.array([height, width] * 2, np.float32)
    views = plain(len(drawn), policy, cutout=fractions)
    rendered = unmixed(policy, views, [as_tensor(pixels)] * len(drawn))
    for at, (y, x, h, w, *colour) in enumerate(drawn):
        picture = Image.fromarray(pixels)
        top, bottom = (min(max(y + sign * (h // 2), 0), height) for sign in (-1, 1))
        left, right = (min(max(x + sign * (w // 2), 0), width) for sign in (-1, 1))
        red, green, blue = colour
        ImageDraw.Draw(picture).rectangle([left, top, right, bottom], fill=(red, green, blue))
        assert distance(rendered[at], as_tensor(np.array(picture))) < 1e-6
    untouched = unmixed(policy, plain(1, policy), [as_tensor(pixels)])
    assert torch.equal(untouched[0], as_tensor(pixels))


def test_cutout_lies_on_the_flipped_view() -> None:
    policy = replace(POLICY, cutout=True)
    corner = np.array([[0, 0, 0.2, 0.25, 255, 0, 0]], np.float32)
    views = plain(1, policy, flip=np.ones(1, bool), cutout=corner)
    rendered = unmixed(policy, views, [torch.zeros(3, 20, 24)])
    assert rendered[0, 0, :3, :4].eq(1).all()
    assert rendered.sum() == 12


def test_cutout_needs_rgb_from_0_to_1() -> None:
    policy = replace(POLICY, cutout=True)
    views = plain(1, policy)
    with pytest.raises(InvalidRequestError, match="cutout needs RGB images, not 1"):
        unmixed(policy, views, [torch.zeros(1, 9, 9)])
    with pytest.raises(InvalidRequestError, match="cutout needs images from 0 to 1"):
        unmixed(policy, views, [torch.full((3, 9, 9), -1.0)])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "2 views need one image each, not 0"),
        ([torch.zeros(3, 4, 4)], "2 views need one image each, not 1"),
        ([torch.zeros(3, 4, 4), torch.zeros(1, 4, 4)], "image of view 1 is torch.float32"),
        ([torch.zeros(4, 4), torch.zeros(4, 4)], "image of view 0"),
        ([torch.zeros(3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)], "view 1 is torch.uint8"),
    ],
)
def test_other_images_are_refused(images: list[Tensor], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        unmixed(POLICY, plain(2, POLICY), images)


def test_a_view_is_the_same_whatever_lies_beside_it() -> None:
    policy = replace(POLICY, mix=Mix.MIXUP)
    pixels = [as_tensor(texture(*size, seed=at)) for at, size in enumerate(SIZES)]
    lam = np.linspace(0.1, 0.9, len(SIZES))
    views = plain(len(SIZES), policy, crop=crops(SIZES, 4), lam=lam)
    order = np.roll(np.arange(len(SIZES)), 1)
    partners = [pixels[at] for at in order]
    together = render_recorded(policy, views, pixels, views[order], partners)
    for at in range(len(SIZES)):
        one = np.array([at])
        alone = render_recorded(policy, views[one], [pixels[at]], views[order[one]], [partners[at]])
        assert torch.equal(alone[0], together[at])
