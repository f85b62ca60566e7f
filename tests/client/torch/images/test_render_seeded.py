"""Records → pixels: known cases exactly, and the same pixels whatever lies beside them."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from labelcast.augmentation import FIXED_POINT, AugmentationPolicy, Mix, Records, draw_records
from labelcast.torch import SampleTable, ViewRenderer
from labelcast.torch.images.render_seeded import crop_and_rotate, paste, shuffle_patches
from labelcast.views import Views
from tests.factories.pictures import Pictures

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_device = pytest.mark.parametrize("device", DEVICES)
POLICY = AugmentationPolicy(
    view_height=7,
    view_width=9,
    rotation_degrees=30.0,
    crop_scale=(0.3, 1.0),
    crop_ratio=1.5,
    flip_probability=0.5,
    mix=Mix.CUTMIX,
    mix_probability=0.8,
    key=11,
)
DATA = Pictures(16, 12, 10)
TABLE = SampleTable(DATA)


def record(*, degrees: float = 0, flip: bool = False, **given: float) -> Records:
    """One record; crops as fractions, boxes as pixels."""
    values: dict[str, int] = {
        "crop_top": 0,
        "crop_left": 0,
        "crop_height": FIXED_POINT,
        "crop_width": FIXED_POINT,
        "rotation": int(degrees * FIXED_POINT),
        "flip": int(flip),
    }
    for name, value in given.items():
        values[name] = int(value * FIXED_POINT) if name.startswith("crop") else int(value)
    columns = {field.name: np.array([values.get(field.name, 0)]) for field in fields(Records)}
    columns["flip"] = columns["flip"].astype(bool)
    columns |= {name: np.zeros((1, 1), np.uint8) for name in ("patch_columns", "patch_rows")}
    return Records(**columns)


def picture(height: int = 8, width: int = 8, *, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def close(actual: Tensor, expected: Tensor, *, within: float = 2e-6) -> None:
    assert actual.shape == expected.shape
    assert float((actual.cpu() - expected.cpu()).abs().max()) <= within


@every_device
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 5), (8, 3), (28, 28), (31, 64)])
def test_a_policy_that_changes_nothing_gives_the_image(
    height: int, width: int, device: str
) -> None:
    data = Pictures(4, height, width)
    table = SampleTable(data)
    policy = AugmentationPolicy(view_height=height, view_width=width)
    views = Views.of(table.sample_ids, 3)
    images = table.images(views.sample_ids).to(device)
    rendered = ViewRenderer(policy, table.sample_ids).render(views, images, None)
    close(rendered, images, within=1e-5)


def test_without_a_policy_images_are_views() -> None:
    renderer = ViewRenderer(None, TABLE.sample_ids)
    views = Views.of(TABLE.sample_ids, 3)
    images = TABLE.images(views.sample_ids)
    assert renderer.render(views, images, None) is images
    assert renderer.partners(views) is views
    assert renderer.mixed_area(views).tolist() == [0.0] * len(views)


@every_device
@pytest.mark.parametrize(("top", "left"), [(0, 0), (0.5, 0), (0.25, 0.5)])
def test_a_crop_of_whole_pixels_is_a_slice(top: float, left: float, device: str) -> None:
    image = picture().to(device)
    cut = record(crop_top=top, crop_left=left, crop_height=0.5, crop_width=0.25)
    down, across = int(8 * top), int(8 * left)
    expected = image[:, :, down : down + 4, across : across + 2]
    close(crop_and_rotate(image, cut, (4, 2)), expected)
    flipped = replace(cut, flip=np.array([True]))
    close(crop_and_rotate(image, flipped, (4, 2)), expected.flip(-1))


def test_half_the_size_is_the_mean_of_four() -> None:
    image = picture(12, 20)
    close(crop_and_rotate(image, record(), (6, 10)), functional.avg_pool2d(image, 2))


def test_a_flip_is_horizontal() -> None:
    image = picture(5, 7)
    close(crop_and_rotate(image, record(flip=True), (5, 7)), image.flip(-1))


@every_device
@pytest.mark.parametrize(("degrees", "quarters"), [(90, 1), (-90, -1), (180, 2), (-180, 2)])
def test_quarter_turns_of_a_square_are_anti_clockwise(
    degrees: float, quarters: int, device: str
) -> None:
    image = picture().to(device)
    turned = torch.rot90(image, quarters, dims=(2, 3))
    close(crop_and_rotate(image, record(degrees=degrees), (8, 8)), turned)
    both = crop_and_rotate(image, record(degrees=degrees, flip=True), (8, 8))
    close(both, turned.flip(-1))


def test_a_crop_is_turned_about_its_own_centre() -> None:
    image = picture()
    cut = record(crop_left=0.5, crop_height=0.5, crop_width=0.5, degrees=90)
    corner = image[:, :, :4, 4:]
    close(crop_and_rotate(image, cut, (4, 4)), torch.rot90(corner, 1, dims=(2, 3)))


def test_turning_is_done_in_pixels_of_the_source() -> None:
    image = picture(4, 8)
    middle = record(crop_left=0.25, crop_height=1, crop_width=0.5, degrees=90)
    expected = torch.rot90(image[:, :, :, 2:6], 1, dims=(2, 3))
    close(crop_and_rotate(image, middle, (4, 4)), expected)


def test_what_lies_outside_is_zero() -> None:
    turned = crop_and_rotate(torch.ones(1, 1, 32, 32), record(degrees=45), (32, 32))[0, 0]
    assert [float(turned[row, column]) for row in (0, -1) for column in (0, -1)] == [0.0] * 4
    assert float(turned[16, 16]) == pytest.approx(1)
    # A square turned by 45° keeps 2(√2 − 1) of itself within its old frame.
    assert float(turned.mean()) == pytest.approx(0.828, abs=0.01)


@every_device
def test_a_box_shows_the_partner_and_nothing_else(device: str) -> None:
    views, partners = picture(6, 7).to(device), picture(6, 7, seed=1).to(device)
    box = record(box_top=1, box_bottom=4, box_left=2, box_right=7)
    expected = views.clone()
    expected[:, :, 1:4, 2:7] = partners[:, :, 1:4, 2:7]
    pasted = paste(views, partners, box)
    assert torch.equal(pasted, expected)
    assert pasted.data_ptr() != views.data_ptr()
    for empty in (record(), record(box_top=3, box_bottom=3, box_left=0, box_right=7)):
        assert torch.equal(paste(views, partners, empty), views)


def many_views(count: int = 64) -> Views:
    return Views.of(TABLE.sample_ids[np.arange(count) % len(TABLE)], np.arange(count) // 5)


def rendered(views: Views, policy: AugmentationPolicy = POLICY, device: str = "cpu") -> Tensor:
    renderer = ViewRenderer(policy, TABLE.sample_ids)
    partners = renderer.partners(views)
    other = None if partners is views else TABLE.images(partners.sample_ids).to(device)
    return renderer.render(views, TABLE.images(views.sample_ids).to(device), other)


@every_device
def test_a_view_has_the_same_pixels_in_every_batch(device: str) -> None:
    """Relabeller and student cut their batches differently and must see the same views."""
    views = many_views()
    whole = rendered(views, device=device)
    assert whole.shape == (64, 2, 7, 9)
    alone = torch.cat([rendered(batch, device=device) for batch in views.batches(1)])
    close(alone, whole, within=1e-6)
    shuffled = np.random.default_rng(0).permutation(64)
    close(rendered(views[shuffled], device=device), whole[shuffled], within=1e-6)


def test_devices_agree() -> None:
    for device in DEVICES:
        close(rendered(many_views(), device=device), rendered(many_views()), within=1e-4)


def test_a_partner_is_shown_as_its_own_unmixed_view() -> None:
    views, plain = many_views(), replace(POLICY, mix=Mix.NONE)
    renderer = ViewRenderer(POLICY, TABLE.sample_ids)
    mixed, own = rendered(views), rendered(views, plain)
    theirs = rendered(renderer.partners(views), plain)
    records = draw_records(POLICY, views.sample_ids, views.seeds, sample_table=TABLE.sample_ids)
    assert (records.box_pixels() > 0).any()
    assert (records.box_pixels() == 0).any()
    for row in range(len(views)):
        inside = torch.zeros(7, 9, dtype=torch.bool)
        inside[
            records.box_top[row] : records.box_bottom[row],
            records.box_left[row] : records.box_right[row],
        ] = True
        close(mixed[row], torch.where(inside, theirs[row], own[row]), within=1e-6)


def test_the_mixed_area_is_the_share_of_pixels() -> None:
    views = many_views()
    whole = replace(POLICY, rotation_degrees=0.0, crop_scale=(1.0, 1.0), crop_ratio=1.0)
    renderer = ViewRenderer(whole, TABLE.sample_ids)
    black = torch.zeros(64, 1, 7, 9)
    shown = renderer.render(views, black, black + 1).mean(dim=(1, 2, 3))
    area = renderer.mixed_area(views)
    assert area.dtype == np.float32
    close(torch.from_numpy(area), shown, within=1e-5)


def test_the_type_of_the_images_is_kept() -> None:
    renderer = ViewRenderer(replace(POLICY, mix=Mix.NONE), TABLE.sample_ids)
    views = many_views(4)
    images = TABLE.images(views.sample_ids)
    double = renderer.render(views, images.double(), None)
    assert double.dtype == torch.float64
    close(double, renderer.render(views, images, None).double(), within=1e-5)


def test_images_and_views_are_left_alone() -> None:
    views, images = many_views(8), TABLE.images(many_views(8).sample_ids)
    before = images.clone()
    ViewRenderer(POLICY, TABLE.sample_ids).render(views, images, images)
    assert torch.equal(images, before)


def shuffled_by_hand(image: Tensor, columns: list[int], rows: list[int]) -> Tensor:
    """RDED's text: cut into strips, the last of which takes the rest, and join them anew."""

    def strips(whole: Tensor, order: list[int], axis: int) -> Tensor:
        wide, grid = whole.shape[axis] // len(order), len(order)
        begins = [strip * wide for strip in range(grid)]
        ends = [*begins[1:], whole.shape[axis]]
        cut = [whole.narrow(axis, begins[at], ends[at] - begins[at]) for at in order]
        return torch.cat(cut, dim=axis)

    return strips(strips(image, columns, 2), rows, 1)


@every_device
@pytest.mark.parametrize("grid", [2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(12, 24), (7, 13), (4, 5), (2, 3)])
def test_patches_are_shuffled_as_strips(height: int, width: int, grid: int, device: str) -> None:
    policy = replace(POLICY, patch_grid=grid)
    views = many_views()
    records = draw_records(policy, views.sample_ids, views.seeds, sample_table=TABLE.sample_ids)
    images = torch.rand(64, 3, height, width, generator=torch.Generator().manual_seed(1))
    shuffled = shuffle_patches(images.to(device), records).cpu()
    for row in range(64):
        orders = records.patch_columns[row].tolist(), records.patch_rows[row].tolist()
        assert torch.equal(shuffled[row], shuffled_by_hand(images[row], *orders))


def test_patches_are_shuffled_before_the_crop_and_for_the_partner_too() -> None:
    policy = replace(POLICY, patch_grid=2)
    views = many_views()
    plain, renderer = ViewRenderer(POLICY, TABLE.sample_ids), ViewRenderer(policy, TABLE.sample_ids)
    partners = renderer.partners(views)
    sides = []
    for side in (views, partners):
        records = draw_records(policy, side.sample_ids, side.seeds, sample_table=TABLE.sample_ids)
        images = TABLE.images(side.sample_ids)
        sides.append(shuffle_patches(images, records))
        assert not torch.equal(sides[-1], images)
    assert torch.equal(rendered(views, policy), plain.render(views, *sides))


def test_without_a_grid_nothing_is_copied() -> None:
    image = picture()
    assert shuffle_patches(image, record()) is image


def test_views_mixed_by_batch_are_the_same_in_every_batch() -> None:
    policy = replace(POLICY, mix_batch=5, patch_grid=2)
    views = many_views()
    whole = rendered(views, policy)
    assert not torch.equal(whole, rendered(views))
    alone = torch.cat([rendered(batch, policy) for batch in views.batches(1)])
    close(alone, whole, within=1e-6)
