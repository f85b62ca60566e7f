"""Exported files are those that were imported, bit for bit, or show what our renderer shows."""

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import RandomSampler

from labelcast.augmentation import (
    AugmentationPolicy,
    Mix,
    ViewPolicy,
)
from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError, LabelValueError, UnsupportedFormError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch.images.render_seeded import ViewRenderer
from labelcast.views import Views
from labelcast_producers.exports.sre2l import INDICES_NAME, export_sre2l, writing
from labelcast_producers.formats.source import PermutationDraws
from tests.producers.formats.truth_label_sets import imported_label_set, make_label_set, rows_of
from tests.producers.formats.writers.batches import Mix as MixName
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.producer_pixels import cutmix_batch, render_view
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.views import Order, image_sizes

ONE, TWO = PermutationDraws.ONE, PermutationDraws.TWO
DRAWS: dict[Order, PermutationDraws] = {"old": ONE, "current": TWO}
SAMPLES, BATCH, CLASSES, VIEW = 11, 4, 7, 32
SMALL: dict[str, Any] = {"samples": SAMPLES, "batch_size": BATCH, "classes": CLASSES, "view": VIEW}
SAME_SIZE = [(60, 83)] * SAMPLES

imported = functools.partial(imported_label_set, view=VIEW)


def files(directory: Path) -> dict[str, list[Any]]:
    return {
        str(path.relative_to(directory)): torch.load(path, weights_only=False)
        for path in sorted(directory.glob("epoch_*/batch_*.tar"))
    }


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, Tensor):
        return ours.dtype == theirs.dtype and bool(ours.equal(theirs))
    if isinstance(theirs, list):
        pairs = zip(ours, theirs, strict=True)
        return type(ours) is list and all(same(*pair) for pair in pairs)
    return type(ours) is type(theirs) and bool(ours == theirs)


def check_same(ours: Path, theirs: Path) -> None:
    written, wanted = files(ours), files(theirs)
    assert list(written) == list(wanted)
    for name, fields in wanted.items():
        for number, field in enumerate(fields):
            assert same(written[name][number], field), f"{name}, field {number}"


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
@pytest.mark.parametrize("order", ["current", "old"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_an_export_of_an_import_has_every_bit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mix: MixName,
    order: Order,
    dtype: torch.dtype,
) -> None:
    truth = write_sre2l(
        tmp_path / "in", epochs=3, mix=mix, order=order, dtype=dtype, sizes=SAME_SIZE, **SMALL
    )
    label_set, told = imported(tmp_path / "set", truth), list[tuple[int, int]]()
    if mix == "none":
        monkeypatch.setattr(writing, "_BLOCK_BYTES", 1)
    report = export_sre2l(
        label_set,
        tmp_path / "out",
        batch_size=BATCH,
        draws=DRAWS[order],
        dtype=dtype,
        progress=lambda *step: told.append(step),
    )
    check_same(tmp_path / "out", tmp_path / "in")
    assert (report.epochs, report.batches, report.views) == (3, 9, 33)
    assert (told[0], told[-1], told) == ((0, 33), (33, 33), sorted(told))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert any("never verified" in note for note in report.notes)
    assert any(f"{VIEW}×{VIEW}" in note for note in report.notes)


def test_crops_of_images_of_several_sizes_need_the_sizes_for_their_bits(tmp_path: Path) -> None:
    sizes = image_sizes(SAMPLES)
    truth = write_sre2l(tmp_path / "in", epochs=2, sizes=sizes, **SMALL)
    label_set = imported(tmp_path / "set", truth)
    known = np.array(sizes, dtype=np.int64)
    export_sre2l(label_set, tmp_path / "out", batch_size=BATCH, image_sizes=known)
    check_same(tmp_path / "out", tmp_path / "in")
    export_sre2l(label_set, tmp_path / "near", batch_size=BATCH)
    near, wanted = files(tmp_path / "near"), files(tmp_path / "in")
    for name, fields in wanted.items():
        assert torch.allclose(near[name][0], fields[0], rtol=0, atol=0.5 / 65535 + 1e-7)
        assert all(map(same, near[name][1:], fields[1:]))
    with pytest.raises(InvalidRequestError, match="no whole pixels"):
        export_sre2l(label_set, tmp_path / "no", batch_size=BATCH, image_sizes=known[::-1].copy())
    with pytest.raises(InvalidRequestError, match=r"not \(11, 2\)"):
        export_sre2l(label_set, tmp_path / "no", batch_size=BATCH, image_sizes=known[:3])


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
@pytest.mark.parametrize("drop_last", [True, False])
def test_pruned_sets_come_back_in_lplds_layout(
    tmp_path: Path, mix: MixName, drop_last: bool
) -> None:
    truth = write_lpld(
        tmp_path / "in", epochs=2.5, mix=mix, drop_last=drop_last, sizes=SAME_SIZE, **SMALL
    )
    label_set = imported(tmp_path / "set", truth)
    with pytest.raises(InvalidRequestError, match="use layout lpld"):
        export_sre2l(label_set, tmp_path / "no", batch_size=BATCH)
    report = export_sre2l(label_set, tmp_path / "out", batch_size=BATCH, layout="lpld")
    check_same(tmp_path / "out", tmp_path / "in")
    assert report.epochs == 3
    ours = json.loads((tmp_path / "out" / INDICES_NAME).read_text())
    theirs = json.loads((tmp_path / "in" / INDICES_NAME).read_text())
    assert list(ours) == list(theirs)
    for epoch, ids in theirs.items():
        # Ours go on with the samples that LPLD never stored.
        assert ours[epoch][: len(ids)] == ids
        assert len(set(ours[epoch])) == len(ours[epoch])


@pytest.mark.parametrize("mix", ["cutmix", "none"])
def test_lplds_layout_needs_no_sampler(tmp_path: Path, mix: MixName) -> None:
    truth = write_sre2l(tmp_path / "in", epochs=2, mix=mix, sizes=SAME_SIZE, **SMALL)
    label_set = imported(tmp_path / "set", truth)
    export_sre2l(
        label_set, tmp_path / "out", batch_size=BATCH, layout="lpld", draws=ONE, sampler_seed=9
    )
    listed = json.loads((tmp_path / "out" / INDICES_NAME).read_text())
    written = files(tmp_path / "out")
    assert len(written) == 6
    for name, (coords, flip, mix_index, lam, box, labels) in written.items():
        epoch, number = (int(part.partition(".")[0].rpartition("_")[2]) for part in name.split("/"))
        ids = listed[str(epoch)][number * BATCH : (number + 1) * BATCH]
        assert len(ids) == len(labels) == (3 if number == 2 else 4)
        rows = [truth.row(sample, epoch) for sample in ids]
        assert (truth.labels[rows] == labels.numpy()).all()
        assert truth.coords is not None
        assert truth.flip is not None
        assert (truth.coords[rows] == coords.numpy()).all()
        assert (truth.flip[rows] == flip.numpy()).all()
        if mix == "none":
            assert mix_index is lam is box is None
        else:
            assert truth.partner_sample_ids is not None
            assert truth.lam is not None
            partners = [ids[at] for at in mix_index.tolist()]
            assert truth.partner_sample_ids[rows].tolist() == partners
            assert set(truth.lam[rows]) == {lam}


SMOOTH: dict[str, Any] = {"view_height": 24, "view_width": 24, "crop_scale": (0.3, 0.8)}


def seeded(
    directory: Path, policy: AugmentationPolicy, seeds: int = 3, keep: Sequence[int] | None = None
) -> LabelSetDirectory:
    every = np.divmod(np.arange(SAMPLES * seeds), SAMPLES)
    views = Views.of(every[1], every[0])
    rows = np.arange(len(views)) if keep is None else np.array(keep)
    labels = np.random.default_rng(5).normal(size=(len(views), CLASSES)).astype(np.float16)
    return make_label_set(directory, policy, views[rows], labels[rows])


def pictures() -> list[Image.Image]:
    """Smooth images of 96 × 96, of which no two are alike."""
    rng = np.random.default_rng(8)
    coarse = rng.integers(256, size=(SAMPLES, 6, 6, 3), dtype=np.uint8)
    size = (96, 96)
    return [Image.fromarray(each).resize(size, Image.Resampling.BICUBIC) for each in coarse]


def off(ours: Tensor, theirs: Tensor) -> float:
    """Mean difference away from the edges, where our renderer shows what is beside an image."""
    return float((ours - theirs)[:, :, 2:-2, 2:-2].abs().mean())


@pytest.mark.parametrize("layout", ["sre2l", "lpld"])
def test_a_plain_script_sees_the_views_of_a_seeded_set(tmp_path: Path, layout: str) -> None:
    mixing: dict[str, Any] = {"mix": Mix.CUTMIX, "mix_batch": BATCH, "mix_probability": 0.7}
    policy = AugmentationPolicy(
        **SMOOTH, flip_probability=0.5, key=4, **(mixing if layout == "lpld" else {})
    )
    label_set = seeded(tmp_path / "set", policy)
    report = export_sre2l(label_set, tmp_path / "out", batch_size=BATCH, layout=layout)
    assert any("whole pixels" in note for note in report.notes)
    written, images = files(tmp_path / "out"), pictures()
    tensors = torch.stack([render_view(image, (0, 0, 1, 1), False, 96) for image in images])
    renderer = ViewRenderer(policy, np.arange(SAMPLES, dtype=np.uint64))
    sampler = RandomSampler(range(SAMPLES), generator=torch.Generator().manual_seed(42))
    mixed = 0
    for epoch in range(3):
        ids = list(sampler)
        if layout == "lpld":
            ids = json.loads((tmp_path / "out" / INDICES_NAME).read_text())[str(epoch)]
        for number in range(3):
            batch = ids[number * BATCH : (number + 1) * BATCH]
            coords, flip, mix_index, lam, box, labels = written[f"epoch_{epoch}/batch_{number}.tar"]
            drawn = zip(batch, coords.tolist(), flip.tolist(), strict=True)
            pixels = torch.stack([render_view(images[at], c, f, 24) for at, c, f in drawn])
            if mix_index is not None:
                mixed += lam < 1
                assert lam == 1 or abs(1 - lam - (box[2] - box[0]) * (box[3] - box[1]) / 576) < 0.6
                pixels = cutmix_batch(pixels, mix_index, box)
            views = Views.of(batch, epoch)
            partners = renderer.partners(views).sample_ids.astype(np.int64)
            ours = renderer.render(views, tensors[batch], tensors[partners])
            assert off(ours, pixels) < 0.02
            assert off(ours, pixels.flip(3)) > 0.05
            assert off(ours, pixels.roll(1, 0)) > 0.1
            decoded = label_set.decoder().decode(label_set.gather(views), views)
            assert (decoded == labels.float().numpy()).all()
    assert 0 < mixed < 9 if layout == "lpld" else not mixed


def test_a_seeded_set_that_ends_early_in_whole_batches(tmp_path: Path) -> None:
    policy = AugmentationPolicy(**SMOOTH, mix=Mix.CUTMIX, mix_batch=BATCH)
    whole = export_sre2l(
        seeded(tmp_path / "set", policy, 1), tmp_path / "out", batch_size=BATCH, layout="lpld"
    )
    assert whole.batches == 3
    ids = json.loads((tmp_path / "out" / INDICES_NAME).read_text())["0"]
    # The last sample must stay: of a shorter table, seeds draw other batches.
    left = ids[BATCH:] if SAMPLES - 1 not in ids[:BATCH] else ids[:BATCH] + ids[2 * BATCH :]
    kept = seeded(tmp_path / "kept", policy, 1, keep=left)
    export_sre2l(kept, tmp_path / "pruned", batch_size=BATCH, layout="lpld")
    assert json.loads((tmp_path / "pruned" / INDICES_NAME).read_text())["0"] == left
    broken = seeded(tmp_path / "broken", policy, 1, keep=[at for at in range(11) if at != ids[0]])
    with pytest.raises(InvalidRequestError, match="only whole batches"):
        export_sre2l(broken, tmp_path / "no", batch_size=BATCH, layout="lpld")


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        (AugmentationPolicy(**SMOOTH, rotation_degrees=5), "rotation"),
        (AugmentationPolicy(**SMOOTH, patch_grid=2), "shuffled patches"),
        (AugmentationPolicy(**SMOOTH, mix=Mix.CUTMIX), "a partner drawn for each"),
        (None, "crops of images"),
    ],
)
@pytest.mark.parametrize("layout", ["sre2l", "lpld"])
def test_views_that_files_cannot_say(
    tmp_path: Path, policy: ViewPolicy | None, what: str, layout: str
) -> None:
    views = Views.of([0, 1], 0)
    label_set = make_label_set(tmp_path / "set", policy, views, np.zeros((2, 3), dtype=np.float16))
    with pytest.raises(UnsupportedFormError, match=rf"{what}.*labelcast's own loader"):
        export_sre2l(label_set, tmp_path / "out", batch_size=2, layout=layout)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("field", [{"operations": 1}, {"patch_grid": 2}, {"cutout": True}])
def test_recorded_views_that_files_cannot_say(tmp_path: Path, field: dict[str, Any]) -> None:
    truth = write_sre2l(tmp_path / "in", epochs=1, sizes=SAME_SIZE, **SMALL)
    label_set = imported(tmp_path / "set", truth, **field)
    with pytest.raises(UnsupportedFormError, match=r"RandAugment|shuffled patches|cutout"):
        export_sre2l(label_set, tmp_path / "out", batch_size=BATCH)


def test_labels_and_ids_that_files_cannot_say(tmp_path: Path) -> None:
    policy, views = AugmentationPolicy(**SMOOTH), Views.of([0, 1], 0)
    half = np.full((2, 2), 0.5, dtype=np.float16)
    kind = LabelKind.PROBABILITIES
    for name, label_set in {
        "raw logits": make_label_set(tmp_path / "1", policy, views, half, kind=kind),
        "positions 0 to 1": make_label_set(tmp_path / "2", policy, views, 4 * half, first_id=5),
    }.items():
        with pytest.raises(UnsupportedFormError, match=name):
            export_sre2l(label_set, tmp_path / "out", batch_size=2)
    large = make_label_set(tmp_path / "3", policy, views, np.full((2, 2), 1e5, dtype=np.float32))
    with pytest.raises(LabelValueError, match="write --dtype float32"):
        export_sre2l(large, tmp_path / "out", batch_size=2)
    assert not (tmp_path / "out").exists()
    export_sre2l(large, tmp_path / "out", batch_size=2, dtype=torch.float32)
    assert files(tmp_path / "out")["epoch_0/batch_0.tar"][5].tolist() == [[1e5, 1e5]] * 2


def test_views_that_do_not_share_their_mix(tmp_path: Path) -> None:
    truth = write_sre2l(tmp_path / "in", epochs=1, sizes=SAME_SIZE, **SMALL)
    own = replace(truth, lam=np.linspace(0.1, 0.9, len(truth)))
    same_partner = replace(truth, partner_sample_ids=truth.sample_ids[np.arange(11) // 4 * 4])
    for name, told in {"own": own, "partner": same_partner}.items():
        for layout in ("sre2l", "lpld"):
            with pytest.raises(UnsupportedFormError, match=r"share their mix|permutations"):
                export_sre2l(
                    imported(tmp_path / f"{name}-{layout}", told),
                    tmp_path / "out",
                    batch_size=BATCH,
                    layout=layout,
                )


def test_partners_of_another_batch_are_found_even_if_all_batches_share_one_mix(
    tmp_path: Path,
) -> None:
    truth = write_sre2l(tmp_path / "in", epochs=1, sizes=SAME_SIZE, **SMALL)
    assert truth.box is not None
    alike = replace(truth, lam=np.full(SAMPLES, 0.5), box=truth.box[:1].repeat(SAMPLES, 0))
    label_set = imported(tmp_path / "set", alike)
    export_sre2l(label_set, tmp_path / "out", batch_size=BATCH)
    for size, seed in ((5, 42), (BATCH, 1)):
        with pytest.raises(InvalidRequestError, match="use layout lpld"):
            export_sre2l(label_set, tmp_path / "no", batch_size=size, sampler_seed=seed)


@pytest.mark.parametrize("layout", ["sre2l", "lpld"])
def test_batches_without_a_mix_in_a_set_that_mixes(tmp_path: Path, layout: str) -> None:
    truth = write_sre2l(tmp_path / "in", epochs=2, sizes=SAME_SIZE, **SMALL)
    assert truth.partner_sample_ids is not None
    assert truth.lam is not None
    assert truth.box is not None
    plain = truth.seeds == 1
    truth.partner_sample_ids[plain] = truth.sample_ids[plain]
    truth.lam[plain], truth.box[plain] = 1, 0
    label_set = imported(tmp_path / "set", truth)
    export_sre2l(label_set, tmp_path / "out", batch_size=BATCH, layout=layout)
    wanted, written = files(tmp_path / "in"), files(tmp_path / "out")
    for name, fields in wanted.items():
        if name.startswith("epoch_1"):
            fields[2] = torch.arange(len(fields[0]))
            fields[3:5] = 1.0, [np.int64(0)] * 4
        assert same(written[name], fields)


@pytest.mark.parametrize("epoch", [0, 1])
def test_only_the_last_epoch_may_end_early(tmp_path: Path, epoch: int) -> None:
    truth = write_lpld(tmp_path / "in", epochs=3, sizes=SAME_SIZE, **SMALL)
    assert truth.lam is not None
    for number in (1, 2):
        gone = truth.seeds == epoch
        gone &= np.isin(truth.lam, np.unique(truth.lam[gone])[:number])
        label_set = imported(tmp_path / f"set-{number}", rows_of(truth, ~gone))
        with pytest.raises(InvalidRequestError, match="whole epochs"):
            export_sre2l(label_set, tmp_path / "out", batch_size=BATCH, layout="lpld")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 5}, r"use batch size 4 .*layout lpld"),
        ({"draws": ONE}, r"draws and seed of the sampler.*layout lpld"),
        ({"sampler_seed": 41}, r"draws and seed of the sampler"),
        ({"batch_size": 5, "layout": "lpld"}, r"most have 4: use that"),
        ({"draws": PermutationDraws.AUTO}, "one or two draws"),
        ({"layout": "fkd"}, "sre2l or lpld"),
        ({"batch_size": 0}, "batch size above 0"),
        ({"dtype": torch.bfloat16}, "float16 or float32"),
    ],
)
def test_other_options_are_needed(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    truth = write_sre2l(tmp_path / "in", epochs=2, sizes=SAME_SIZE, **SMALL)
    label_set = imported(tmp_path / "set", truth)
    with pytest.raises(InvalidRequestError, match=message):
        export_sre2l(label_set, tmp_path / "out", **{"batch_size": BATCH, **options})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "set"]


def stop(_done: int, _total: int) -> None:
    raise KeyboardInterrupt


def test_nothing_is_left_of_an_export_that_stops(tmp_path: Path) -> None:
    label_set = seeded(tmp_path / "set", AugmentationPolicy(**SMOOTH))
    out = tmp_path / "deep" / "out"
    with pytest.raises(KeyboardInterrupt):
        export_sre2l(label_set, out, batch_size=BATCH, progress=stop)
    assert not list(out.parent.iterdir())
    out.mkdir()
    export_sre2l(label_set, out, batch_size=BATCH)
    before = files(out)
    with pytest.raises(InvalidRequestError, match="already; use a new or empty directory"):
        export_sre2l(label_set, out, batch_size=BATCH)
    assert len(files(out)) == len(before) == 9
