"""Control views: what is kept of a view and its label, and what differs from it."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast import Views
from labelcast.errors import ContractMismatchError, ManifestError
from labelcast.label_set import Manifest
from labelcast.label_set.control_views import (
    MAX_CONTROL_BYTES,
    ControlImages,
    ControlViews,
    thumbnails,
)
from labelcast.label_set_directory import LabelSetDirectory
from tests.factories.label_sets import make_label_set, with_control_views

CLASSES = 40
VIEWS = Views.of([7, 3, 3], [0, 9, 1])


def pictures(**change: float) -> Any:
    """Three views of three channels, of sizes that 8 does not divide."""
    values = np.random.default_rng(0).random((3, 3, 12, 20), dtype=np.float32)
    return values * change.get("times", 1) + change.get("plus", 0)


def logits() -> Any:
    return np.random.default_rng(1).normal(0, 5, (3, CLASSES)).astype(np.float32)


def control() -> ControlViews:
    return ControlViews.of(ControlImages.of(VIEWS, pictures()), logits())


# Pictures and labels of the views in the order that is kept.
KEPT = [2, 1, 0]


def test_a_thumbnail_is_the_mean_of_each_cell_even_where_edges_divide_pixels() -> None:
    ramp = np.arange(16 * 24, dtype=np.float64).reshape(1, 1, 16, 24)
    means = ramp[0, 0].reshape(8, 2, 8, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(thumbnails(ramp)[0, 0], means)
    # 12 pixels: the first cell takes one and a half of them.
    line = np.tile(np.arange(12.0), (1, 1, 8, 1))
    assert thumbnails(line)[0, 0, 0, :2].tolist() == pytest.approx([0.5 / 1.5, (0.5 + 2) / 1.5])
    # Fewer pixels than cells.
    assert thumbnails(np.arange(4.0).reshape(1, 1, 2, 2))[0, 0, 0].tolist() == [0] * 4 + [1] * 4


def test_golden_vector() -> None:
    """The one of FORMAT.md."""
    images = np.arange(2 * 8 * 8, dtype=np.float64).reshape(2, 1, 8, 8) / 127
    made = ControlViews.of(
        ControlImages.of(Views.of([2, 1], [5, 6]), images),
        np.array([[-1, 2.5], [0.25, 0]], dtype=np.float32),
    )
    content = made.to_bytes()
    assert content[:54] == b"labelcast/control-views/1\n" + struct.pack(
        "<IIIIIff", 2, 1, 8, 8, 2, 0, 1
    )
    assert content[54:78].hex() == "010000000000000002000000000000000600000005000000"
    assert content[78:82].hex() == "81838587"
    digest = "f6986e24c760ed08b9205b2d9a864062856bedfb22f3fdb865c9166b1f175eb8"
    assert hashlib.sha256(content).hexdigest() == digest


def test_views_are_kept_in_order_with_their_images_and_labels() -> None:
    kept = control()
    assert (kept.views.sample_ids.tolist(), kept.views.seeds.tolist()) == ([3, 3, 7], [1, 9, 0])
    kept.check(lambda _: pictures()[KEPT], lambda _: logits())
    again = ControlViews.from_bytes(kept.to_bytes(), CLASSES)
    assert again.to_bytes() == kept.to_bytes()
    again.check(lambda _: pictures()[KEPT], lambda _: logits())
    assert (len(again), again.classes.shape) == (3, (3, 16))


@pytest.mark.parametrize("times", [1, 1.01, 255, -4])
def test_pixels_of_any_range_are_kept(times: float) -> None:
    images = ControlImages.of(VIEWS, pictures(times=times, plus=0.001))
    images.require(pictures(times=times, plus=0.001)[KEPT])
    assert images.distances(pictures(times=times, plus=0.001)[KEPT]).max() <= 0.51
    flat = ControlImages.of(VIEWS, np.full((3, 1, 8, 8), 5.0))
    flat.require(np.full((3, 1, 8, 8), 5.0))


def test_two_steps_are_allowed_and_three_are_not() -> None:
    images = ControlImages.of(VIEWS, pictures())
    images.require(pictures(plus=1.4 / 255)[KEPT])
    for other in (
        pictures(plus=2.6 / 255),
        pictures(plus=-2.6 / 255),
        pictures(times=float("nan")),
    ):
        with pytest.raises(ContractMismatchError, match="3 of 3 control views look otherwise"):
            images.require(other[KEPT])
    one = pictures()[KEPT]
    one[1] = one[1, ::-1]
    with pytest.raises(ContractMismatchError, match=r"1 of 3 .* sample ID 3, seed 9") as caught:
        images.require(one)
    assert "make these views as the teacher's were made" in caught.value.message
    assert "\n" not in caught.value.message
    for other in (pictures()[:, :1], pictures()[:, :, 1:], pictures()[:2], pictures()[0]):
        with pytest.raises(ContractMismatchError, match=r"teacher's to \(3, 3, 12, 20\)"):
            images.require(other)


def test_other_labels_are_refused_and_rounded_ones_are_not() -> None:
    kept = control()
    kept.require_labels(logits().astype(np.float16))
    others = [
        np.roll(logits(), 1, axis=1),
        np.roll(logits(), 1, axis=0),
        logits() * 1.01,
        np.full_like(logits(), np.nan),
    ]
    for other in others:
        with pytest.raises(ContractMismatchError, match="3 of 3 control views get other labels"):
            kept.require_labels(other)
    with pytest.raises(ContractMismatchError) as caught:
        kept.require_labels(np.roll(logits(), 1, axis=1))
    assert "; read labels by sample ID and seed, in the label set's class order" in (
        caught.value.message
    )
    for shape in ((2, CLASSES), (3, 4), (3,)):
        with pytest.raises(ContractMismatchError, match="are not those of 3 control views"):
            kept.require_labels(np.zeros(shape))


def test_classes_that_top_k_left_out_do_not_hide_the_others() -> None:
    labels = np.where(logits() > 4, logits(), np.float32(-32768))
    kept = ControlViews.of(ControlImages.of(VIEWS, pictures()), labels)
    kept.require_labels(labels.astype(np.float16))
    with pytest.raises(ContractMismatchError, match="3 of 3"):
        kept.require_labels(np.where(labels > 4, labels * 1.02, labels))
    # Nor where the likeliest is near zero.
    likely = np.where(logits() > 4, np.float32(-1e-6), logits() - 10)
    kept = ControlViews.of(ControlImages.of(VIEWS, pictures()), likely)
    kept.require_labels(likely + np.float32(1e-3))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_logits_are_compared_with_probabilities(temperature: float) -> None:
    kept = control().as_probabilities(temperature)
    exponentials = np.exp(logits().astype(np.float64) / temperature)
    delivered = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float16)
    kept.require_labels(delivered)
    with pytest.raises(ContractMismatchError):
        kept.require_labels(delivered[::-1])


def test_only_views_whose_samples_are_at_hand_are_compared() -> None:
    def partners(views: Views) -> Views:
        return Views.of(np.where(views.seeds == 9, 100, views.sample_ids), views.seeds)

    ids = np.array([3, 7, 100], dtype=np.uint64)
    assert len(control().of_samples(ids, ids, partners)) == 3
    assert control().of_samples(ids, ids[:2], partners).views == Views.of([3, 7], [1, 0])
    assert control().of_samples(ids[1:], ids, partners).views == Views.of([7], 0)
    none = control().of_samples(ids[2:], ids, partners)
    assert (len(none), none.classes.shape) == (0, (0, 16))


def changed(at: int, form: str, value: Any) -> Callable[[bytes], bytes]:
    size = struct.calcsize(form)
    return lambda content: content[:at] + struct.pack(form, value) + content[at + size :]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content[:50], "another format"),
        (lambda content: b"x" + content[1:], "another format"),
        (lambda content: content[:-1], "not the size"),
        (lambda content: content + b"\0", "not the size"),
        (changed(26, "<I", 2**32 - 1), "not the size"),
        (changed(30, "<I", 0), "not the size"),
        (changed(34, "<I", 0), "not the size"),
        (changed(46, "<f", 2), "no numbers"),
        (changed(50, "<f", float("nan")), "no numbers"),
        (changed(54, "<Q", 8), "rising order"),
        (changed(70, "<Q", 3), "rising order"),
        (lambda content: content[:-1] + b"\x7f" + content[-1:], "not the size"),
        (lambda content: content[:-4] + struct.pack("<f", float("inf")), "no numbers"),
    ],
)
def test_a_malformed_part_is_refused(change: Callable[[bytes], bytes], says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        ControlViews.from_bytes(change(control().to_bytes()), CLASSES)


def test_classes_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ManifestError, match="beyond the 30 classes"):
        ControlViews.from_bytes(control().to_bytes(), 30)


def test_a_label_set_gives_what_was_put_into_it(tmp_path: Path) -> None:
    plain, _ = make_label_set(tmp_path, "vqae-context")
    assert (plain.manifest.has_control_views, plain.control_views()) == (False, None)
    label_set = with_control_views(plain)
    assert label_set.manifest.has_control_views
    found = label_set.control_views()
    assert found is not None
    found.require_labels(label_set.labels(found.views.sample_ids, found.views.seeds))
    assert Manifest.from_bytes(label_set.manifest.to_bytes()) == label_set.manifest
    # Read once.
    assert label_set.control_views() is found


def test_control_views_of_no_stored_view_are_refused(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    strange = Views.of([1], 0)
    with pytest.raises(ManifestError, match=r"parts\.control_views: .*sample ID 1"):
        with_control_views(label_set, strange).control_views()


def test_a_part_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    made = with_control_views(label_set, content=bytes(MAX_CONTROL_BYTES + 1))
    with pytest.raises(ManifestError, match="more than 1048576 bytes"):
        LabelSetDirectory(made.directory).control_views()
