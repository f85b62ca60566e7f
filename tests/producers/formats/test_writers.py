"""The writers write what the producers do, and their truth is what a plain reading finds."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.producers.formats.stored_files import is_tensor, load
from tests.producers.formats.writers.apple_dr import write_apple_dr
from tests.producers.formats.writers.batches import Mix
from tests.producers.formats.writers.edc import write_edc
from tests.producers.formats.writers.fkd import LabelType, write_fkd
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.hald import write_hald
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import rand_augment_parameters, write_lpqld
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.tinyvit import write_tinyvit
from tests.producers.formats.writers.truth import Truth, by_occurrence
from tests.producers.formats.writers.views import epoch_orders, image_names

SMALL: dict[str, Any] = {"samples": 10, "epochs": 2, "batch_size": 4, "classes": 12}


def check_six(record: list[Any], ids: list[int], truth: Truth, epoch: int) -> None:
    """Compare a record in SRe2L's order with the truth, by a loop."""
    coords, flip, mix_index, lam, box, labels = record
    for place, sample in enumerate(ids):
        row = truth.row(sample, epoch)
        assert truth.coords is not None
        assert truth.coords[row].tolist() == coords[place].tolist()
        assert flip is None or (truth.flip is not None and truth.flip[row] == flip[place])
        assert truth.labels[row].tolist() == labels[place].tolist()
        if mix_index is None:
            assert truth.partner_sample_ids is None
            assert truth.lam is None
            assert truth.box is None
            continue
        assert truth.partner_sample_ids is not None
        assert truth.partner_seeds is not None
        assert truth.lam is not None
        assert truth.partner_sample_ids[row] == ids[int(mix_index[place])]
        assert truth.partner_seeds[row] == epoch
        assert truth.lam[row] == lam
        assert (truth.box is None) == (box is None)
        if truth.box is not None:
            assert truth.box[row].tolist() == [int(edge) for edge in box]


def check_types(record: list[Any], size: int, mix: str, dtype: torch.dtype) -> None:
    coords, flip, mix_index, lam, box, labels = record
    assert is_tensor(coords, torch.float32, size, 4)
    assert is_tensor(flip, torch.bool, size)
    assert is_tensor(labels, dtype, size, SMALL["classes"])
    assert mix_index is None if mix == "none" else is_tensor(mix_index, torch.int64, size)
    assert lam is None if mix == "none" else type(lam) is float
    if mix == "cutmix":
        assert type(box) is list
        assert [type(edge) for edge in box] == [np.int64] * 4
    else:
        assert box is None


def test_the_order_is_the_samplers() -> None:
    generator = torch.Generator().manual_seed(42)
    drawn = [torch.randperm(10, generator=generator).tolist() for _ in range(6)]
    assert epoch_orders(10, 3, "old") == drawn[:3]
    assert epoch_orders(10, 3) == drawn[::2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("mix", ["none", "cutmix", "mixup"])
def test_sre2l(tmp_path: Path, mix: Mix, dtype: torch.dtype) -> None:
    truth = write_sre2l(tmp_path, **SMALL, mix=mix, dtype=dtype)
    assert len(truth) == 20
    assert truth.mix == mix
    assert len(list(tmp_path.rglob("*.tar"))) == 6
    for epoch, order in enumerate(epoch_orders(10, 2)):
        for number, size in enumerate([4, 4, 2]):
            record = load(tmp_path / f"epoch_{epoch}" / f"batch_{number}.tar")
            assert type(record) is list
            check_types(record, size, mix, dtype)
            check_six(record, order[4 * number : 4 * number + size], truth, epoch)


def test_numpy_scalars_fail_a_restricted_load(tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL)
    with pytest.raises(Exception, match=r"multiarray\.scalar"):
        torch.load(tmp_path / "epoch_0" / "batch_0.tar", weights_only=True)


def test_lpld_is_pruned(tmp_path: Path) -> None:
    truth = write_lpld(tmp_path, **SMALL | {"epochs": 1.5})
    assert len(truth) == 12
    ids = json.loads((tmp_path / "sampler_indices_epoch.json").read_text())
    assert {key: len(value) for key, value in ids.items()} == {"0": 8, "1": 4}
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tar"))
    assert names == ["epoch_0/batch_0.tar", "epoch_0/batch_1.tar", "epoch_1/batch_0.tar"]
    record = load(tmp_path / names[2])
    check_types(record, 4, "cutmix", torch.float16)
    check_six(record, ids["1"][:4], truth, 1)


@pytest.mark.parametrize("order", ["current", "old"])
def test_lpld_writes_an_epoch_after_it_has_broken_off(tmp_path: Path, order: Any) -> None:
    """Where the last batch that it wants ends an epoch; its order is that of no sampler epoch."""
    truth = write_lpld(tmp_path, **SMALL, order=order)
    ids = json.loads((tmp_path / "sampler_indices_epoch.json").read_text())
    generator = torch.Generator().manual_seed(42)
    drawn = [torch.randperm(10, generator=generator).tolist()[:8] for _ in range(4)]
    if order == "old":
        assert list(ids.values()) == drawn[:3]
    else:
        assert list(ids.values()) == [drawn[0], drawn[2], drawn[3]]
    assert len(truth) == 24
    check_six(load(tmp_path / "epoch_2" / "batch_1.tar"), ids["2"][4:], truth, 2)


def test_lpld_cutout_and_unfinished(tmp_path: Path) -> None:
    truth = write_lpld(tmp_path, **SMALL, cutout=True, finished=False)
    assert not (tmp_path / "sampler_indices_epoch.json").exists()
    record = load(tmp_path / "epoch_1" / "batch_1.tar")
    assert is_tensor(record[1], torch.float32, 4, 7)
    assert truth.flip is None
    record[1] = None
    check_six(record, epoch_orders(10, 2)[1][4:8], truth, 1)


@pytest.mark.parametrize("mix", ["none", "cutmix", "mixup"])
def test_lpqld(tmp_path: Path, mix: Mix) -> None:
    truth = write_lpqld(tmp_path, **SMALL, k=3, mix=mix, parameters=rand_augment_parameters)
    ids = json.loads((tmp_path / "sampler_indices_batch.json").read_text())
    assert [len(ids[str(number)]) for number in range(4)] == [4] * 4
    record = load(tmp_path / "batch_3.tar")
    assert len(record) == 8
    assert type(record.pop(2)[0][0]) is tuple
    coords, flip, mix_index, lam, box, values, indices = record
    assert is_tensor(coords, torch.float16, 4, 4)
    assert is_tensor(flip, torch.bool, 4)
    assert is_tensor(values, torch.float16, 4, 3)
    assert is_tensor(indices, torch.int16, 4, 3)
    assert bool((values[:, :-1] >= values[:, 1:]).all())
    assert mix_index is None if mix == "none" else is_tensor(mix_index, torch.uint8, 4)
    assert lam is None if mix == "none" else type(lam) is float
    assert (box is not None) == (mix == "cutmix")
    assert box is None or all(is_tensor(edge, torch.uint8) for edge in box)
    dense = torch.full((4, 12), -math.inf)
    for place in range(4):
        for rank in range(3):
            dense[place, int(indices[place, rank])] = values[place, rank]
    check_six([coords, flip, mix_index, lam, box, dense], ids["3"], truth, 1)
    counted = by_occurrence(truth)
    assert len({*zip(counted.sample_ids.tolist(), counted.seeds.tolist(), strict=True)}) == 16


def test_lpqld_unquantised(tmp_path: Path) -> None:
    truth = write_lpqld(tmp_path, **SMALL, quantised=False)
    record = load(tmp_path / "batch_1.tar")
    check_types(record, 4, "cutmix", torch.float16)
    check_six(record, epoch_orders(10, 2)[0][4:8], truth, 0)


@pytest.mark.parametrize("label_as", ["tensor", "array"])
@pytest.mark.parametrize(
    ("label_type", "shape"),
    [
        ("hard", (2,)),
        ("smoothing", (2, 2)),
        ("marginal_smoothing_k5", (2, 2, 5)),
        ("marginal_smoothing_k10", (2, 2, 10)),
        ("marginal_renorm_k5", (2, 2, 5)),
        ("full", (2, 12)),
    ],
)
def test_fkd(tmp_path: Path, label_type: LabelType, shape: tuple[int, ...], label_as: Any) -> None:
    truth = write_fkd(tmp_path, **SMALL, label_type=label_type, label_as=label_as)
    name = Path(image_names(10, 12)[7]).with_suffix(".tar")
    coords, flip, label = load(tmp_path / name)
    assert isinstance(coords, np.ndarray)
    assert coords.shape == (2, 4)
    assert isinstance(flip, np.ndarray)
    assert flip.dtype == bool
    assert isinstance(label, torch.Tensor if label_as == "tensor" else np.ndarray)
    assert label.shape == shape
    row = truth.row(7, 1)
    recovered = truth.labels[row]
    assert recovered.sum() == pytest.approx(1, abs=1e-5)
    assert truth.coords is not None
    assert truth.coords[row].tolist() == coords[1].tolist()
    if label_type == "hard":
        assert recovered[int(label[1])] == 1
    elif label_type == "smoothing":
        assert recovered[int(label[1][0])] == pytest.approx(float(label[1][1]))
    elif label_type != "full":
        ids, kept = [int(value) for value in label[1][0]], label[1][1]
        scale = float(kept.sum()) if label_type == "marginal_renorm_k5" else 1
        others = 0 if scale != 1 else (1 - float(kept.sum())) / (12 - len(ids))
        expected = {number: float(p) / scale for number, p in zip(ids, kept, strict=True)}
        for number in range(12):
            assert recovered[number] == pytest.approx(expected.get(number, others), abs=1e-6)


def test_gvbsm_and_edc(tmp_path: Path) -> None:
    for directory, write, length in [("g", write_gvbsm, 7), ("e", write_edc, 8)]:
        truth = write(tmp_path / directory, **SMALL)
        record = load(tmp_path / directory / "epoch_1" / "batch_2.tar")
        assert len(record) == length
        assert is_tensor(record[6], torch.int64, 2)
        check_types(record[:6], 2, "cutmix", torch.float16)
        check_six(record[:6], record[6].tolist(), truth, 1)
        if length == 8:
            assert is_tensor(record[7], torch.int32, 2, 2, 2)
            assert not record[7].any()
            assert truth.patches is not None
            assert truth.patches[0].tolist() == [[0, 1], [2, 3]]


def test_edc_as_it_shuffled_once(tmp_path: Path) -> None:
    truth = write_edc(tmp_path, **SMALL, shuffled=True)
    ids, orders = load(tmp_path / "epoch_1" / "batch_2.tar")[6:]
    assert is_tensor(orders, torch.int64, 2, 2, 2)
    assert truth.patches is not None
    for sample, (columns, rows) in zip(ids.tolist(), orders.tolist(), strict=True):
        patches = truth.patches[truth.row(sample, 1)].tolist()
        assert patches == [[2 * row + column for column in columns] for row in rows]


def test_edc_divides_by_the_other_side(tmp_path: Path) -> None:
    truth = write_edc(tmp_path, **SMALL, sizes=[(40, 20)] * 10)
    coords, ids = (load(tmp_path / "epoch_1" / "batch_2.tar")[at] for at in (0, 6))
    assert truth.coords is not None
    drawn = truth.coords[[truth.row(sample, 1) for sample in ids.tolist()]]
    assert coords.numpy() == pytest.approx(drawn * [2, 0.5, 2, 0.5])


def test_hald(tmp_path: Path) -> None:
    truth = write_hald(tmp_path, **SMALL)
    ids = load(tmp_path / "sampler_indices_dict.pt")
    batches = load(tmp_path / "epoch_1.tar")
    assert [len(batch[0]) for batch in batches] == [4, 4, 2]
    assert is_tensor(batches[2][0], torch.float16, 2, 4)
    assert is_tensor(batches[2][5], torch.float16, 2, 12)
    assert batches[0][5].float().sum(1).tolist() == pytest.approx([1] * 4, abs=2e-3)
    check_six(batches[2], ids["1"][8:], truth, 1)


def test_tinyvit(tmp_path: Path) -> None:
    truth = write_tinyvit(tmp_path, **SMALL, k=3)
    names = image_names(10, 12)
    folder = tmp_path / "logits_top3_epoch1"
    keys = (folder / "rank1-keys.txt").read_text().splitlines()
    values = (folder / "rank1-values.bin").read_bytes()
    assert len(keys) == 5
    assert len(values) == 5 * 16
    for place, key in enumerate(keys):
        seed, *rest = struct.unpack_from("<i3h3e", values, 16 * place)
        row = truth.row(names.index(key), 1)
        assert truth.stored_seeds is not None
        assert truth.stored_seeds[row] == seed
        others = (1 - sum(rest[3:])) / 9
        expected = dict(zip(rest[:3], rest[3:], strict=True))
        for number in range(12):
            assert truth.labels[row, number] == pytest.approx(expected.get(number, others))


def test_apple_dr(tmp_path: Path) -> None:
    truth = write_apple_dr(tmp_path, **SMALL, k=3, sizes=[(50, 40)] * 10)
    sample, views = load(tmp_path / "6.pth.tar")
    assert type(sample) is int
    values, ids = views[1]["prob"]
    assert is_tensor(values, torch.float32, 3)
    assert is_tensor(ids, torch.int64, 3)
    row = truth.row(6, 1)
    top, left, height, width = views[1]["params"]["RandomResizedCrop"]
    assert truth.coords is not None
    expected = np.array([top / 50, left / 40, height / 50, width / 40], dtype=np.float32)
    assert truth.coords[row].tolist() == expected.tolist()
    assert truth.labels[row, int(ids[0])] == values[0]
