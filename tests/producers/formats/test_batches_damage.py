"""Files of mixed batches that cannot be used: each is refused on one line that names the place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.errors import InvalidRequestError, LabelFileError, LabelValueError
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.batch_refusals import (
    FIRST,
    MIDDLE,
    NAMED,
    SMALL,
    WARM,
    opened,
    refusal,
)
from tests.producers.formats.stored_files import edit, put
from tests.producers.formats.writers.batches import Record
from tests.producers.formats.writers.edc import write_edc
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.hald import write_hald
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import rand_augment_parameters, write_lpqld
from tests.producers.formats.writers.sre2l import write_sre2l

INDICES = "sampler_indices_epoch.json"
COORDS, FLIP, MIX, LAM, BOX, LABELS = range(6)


@pytest.mark.parametrize(
    ("gone", "parts"),
    [
        ("epoch_1", ["lacks epoch_1,"]),
        ("epoch_0", ["lacks epoch_0,"]),
        ("epoch_1/batch_1.tar", ["lacks epoch_1/batch_1.tar"]),
        ("epoch_0/batch_0.tar", ["lacks epoch_0/batch_0.tar"]),
        ("epoch_1/batch_2.tar", ["epoch_1/batch_1.tar", "with 2 batches, others have 3"]),
    ],
)
def test_missing_epochs_and_batches(gone: str, parts: list[str], tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL)
    path = tmp_path / gone
    for file in path.iterdir() if path.is_dir() else [path]:
        file.unlink()
    if path.is_dir():
        path.rmdir()
    refusal(tmp_path, *parts)


def test_missing_flat_batches_and_epoch_files(tmp_path: Path) -> None:
    write_lpqld(tmp_path / "flat", **SMALL)
    (tmp_path / "flat" / "batch_3.tar").unlink()
    refusal(tmp_path / "flat", "lacks batch_3.tar", options=NAMED)
    write_hald(tmp_path / "files", **SMALL)
    (tmp_path / "files" / "epoch_1.tar").unlink()
    refusal(tmp_path / "files", "lacks epoch_1.tar", options=WARM)


def test_an_epoch_that_is_listed_must_be_there(tmp_path: Path) -> None:
    write_lpld(tmp_path, **SMALL)
    for path in (tmp_path / "epoch_3").iterdir():
        path.unlink()
    (tmp_path / "epoch_3").rmdir()
    refusal(tmp_path, INDICES, "names the samples of epoch 3, which is not there")


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
@pytest.mark.parametrize("cut", [FIRST, MIDDLE])
def test_truncated_files(cut: str, kept: float, tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL)
    path = tmp_path / cut
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    refusal(tmp_path, cut)


def test_files_that_are_all_truncated_are_still_recognised(tmp_path: Path) -> None:
    write_gvbsm(tmp_path, **SMALL)
    for path in tmp_path.rglob("*.tar"):
        path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(LabelFileError, match=r"batch_0\.tar is damaged"):
        opened(tmp_path)


@pytest.mark.parametrize("rows", [3, 5])
def test_mixed_batch_sizes(rows: int, tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL | {"mix": "none", "samples": 12})

    def change(record: Record) -> None:
        for position in (COORDS, FLIP, LABELS):
            repeated = torch.cat([record[position], record[position]])
            record[position] = repeated[:rows].clone()

    edit(tmp_path / MIDDLE, change)
    refusal(tmp_path, MIDDLE, f"has {rows} views")


CHANGES: dict[str, tuple[str, Callable[[Record], object], str]] = {
    "classes": (MIDDLE, put(LABELS, torch.zeros(4, 11).half()), "labels have 11 columns"),
    "label type": (MIDDLE, put(LABELS, torch.zeros(4, 12)), "labels are float32"),
    "coords type": (MIDDLE, put(COORDS, torch.full((4, 4), 0.5).half()), "in one type"),
    "label rows": (MIDDLE, put(LABELS, torch.zeros(3, 12).half()), "list of 6"),
    "integer labels": (MIDDLE, put(LABELS, torch.zeros(4, 12).long()), "int64 [4, 12]"),
    "too long": (MIDDLE, lambda record: record.append(3), "list of 7"),
    "too short": (MIDDLE, lambda record: record.pop(), "list of 5"),
    "flip type": (MIDDLE, put(FLIP, torch.zeros(4)), "float32 [4]"),
    "coords shape": (MIDDLE, put(COORDS, torch.zeros(4, 5)), "float32 [4, 5]"),
    "λ without partners": (MIDDLE, put(MIX, None), "None"),
    "no λ": (MIDDLE, put(LAM, None), "list of 6"),
    "λ": (MIDDLE, put(LAM, 1.5), "mix_lam is 1.5"),
    "λ is no number": (FIRST, put(LAM, float("nan")), "mix_lam is nan"),
    "box of three": (MIDDLE, put(BOX, [np.int64(1)] * 3), "list of 3"),
    "box beyond": (MIDDLE, put(BOX, [np.int64(n) for n in (0, 0, 225, 3)]), "--view-size"),
    "box before": (MIDDLE, put(BOX, [np.int64(n) for n in (-1, 0, 5, 3)]), "rows -1 to 5"),
    "box inside out": (MIDDLE, put(BOX, [np.int64(n) for n in (9, 0, 5, 3)]), "rows 9 to 5"),
    "partners": (MIDDLE, put(MIX, torch.tensor([0, 1, 1, 3])), "mix_index is no permutation"),
    "partner beyond": (MIDDLE, put(MIX, torch.tensor([0, 1, 2, 4])), "mix_index"),
    "coords NaN": (
        MIDDLE,
        lambda record: record[COORDS].__setitem__((2, 1), torch.nan),
        "coords, row 2",
    ),
    "coords beyond": (MIDDLE, lambda record: record[COORDS].__setitem__((3, 2), 1.5), "row 3"),
    "coords empty": (MIDDLE, lambda record: record[COORDS].__setitem__((1, 3), 0.0), "row 1"),
    "mix": (MIDDLE, put(BOX, None), "mixed by mixup, those before it by cutmix"),
    "first": (FIRST, put(LABELS, torch.zeros(4, 12)), "labels are float16"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_file_is_unlike_the_others(name: str, tmp_path: Path) -> None:
    file, change, expected = CHANGES[name]
    write_sre2l(tmp_path, **SMALL)
    edit(tmp_path / file, change)
    refusal(tmp_path, "batch_", expected)


def test_another_producers_file_among_these(tmp_path: Path) -> None:
    write_sre2l(tmp_path / "ours", **SMALL)
    write_gvbsm(tmp_path / "theirs", **SMALL)
    (tmp_path / "theirs" / MIDDLE).replace(tmp_path / "ours" / MIDDLE)
    refusal(tmp_path / "ours", MIDDLE, "holds other things")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_labels_are_finite(value: float, tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL)
    edit(tmp_path / MIDDLE, lambda record: record[LABELS].__setitem__((2, 5), value))
    source = opened(tmp_path)
    with pytest.raises(LabelValueError, match=r"epoch_1/batch_1\.tar: labels, row 2: they hold"):
        [source.read(part) for part in source.parts]


def test_probabilities_are_probabilities(tmp_path: Path) -> None:
    write_hald(tmp_path, **SMALL)

    def change(epoch: Record) -> None:
        epoch[1][LABELS][3] *= 2

    edit(tmp_path / "epoch_2.tar", change)
    source = opened(tmp_path, options=WARM)
    with pytest.raises(LabelValueError, match=r"epoch_2\.tar, batch 1: labels, row 3"):
        [source.read(part) for part in source.parts]


def test_top_k_values_stay_above_those_of_missing_classes(tmp_path: Path) -> None:
    write_lpqld(tmp_path, **SMALL)
    edit(tmp_path / "batch_1.tar", lambda record: record[5].__setitem__((1, 4), -40000.0))
    source = opened(tmp_path, options=NAMED)
    with pytest.raises(LabelValueError, match="row 1: they lie beyond ±32768"):
        source.read(source.parts[1])


def test_a_file_that_changes_after_the_scan(tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL)
    source = opened(tmp_path)
    part = source.parts[4]
    edit(part.path, put(LABELS, torch.zeros(4, 11).half()))
    with pytest.raises(LabelFileError, match="has changed since it was scanned"):
        source.read(part)
    part.path.unlink()
    with pytest.raises(LabelFileError, match="cannot read"):
        source.read(part)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda record: record[6].__setitem__((2, 0), 12), "indices, row 2: class 12 is outside"),
        (lambda record: record[6].__setitem__((1, 0), -3), "indices, row 1: class -3"),
        (lambda record: record[6].__setitem__((3, 0), record[6][3, 1]), "row 3: one class twice"),
        (put(2, torch.tensor([0, 1, 2, 2], dtype=torch.uint8)), "uint8 overflow"),
        (
            put(4, [torch.tensor(n, dtype=torch.uint8) for n in (200, 0, 4, 9)]),
            "rows 200 to 4 and columns 0 to 9, which is uint8 overflow, and cannot be recovered",
        ),
    ],
)
def test_quantised_numbers(
    change: Callable[[Record], object], expected: str, tmp_path: Path
) -> None:
    write_lpqld(tmp_path, **SMALL)
    edit(tmp_path / "batch_2.tar", change)
    refusal(tmp_path, "batch_2.tar", expected, options=NAMED)


def test_class_indices_of_a_type_that_holds_too_few(tmp_path: Path) -> None:
    write_lpqld(tmp_path, **SMALL | {"classes": 300})
    options = ImportOptions(class_names=tuple(map(str, range(300))))
    assert opened(tmp_path, options=options).facts.num_classes == 300
    for path in tmp_path.glob("*.tar"):
        edit(path, lambda record: record.__setitem__(6, record[6].to(torch.uint8)))
    refusal(tmp_path, "batch_0.tar: indices", "holds none from 256 on", options=options)


def test_uint8_cannot_number_large_batches(tmp_path: Path) -> None:
    few: dict[str, Any] = {"samples": 300, "epochs": 1, "classes": 12, "k": 1, "view": 64}
    write_lpqld(tmp_path, **few, batch_size=300)
    message = refusal(tmp_path, "uint8 overflow", "300", "cannot be recovered", options=NAMED)
    assert "batch_0.tar: mix_index" in message


def test_uint8_cannot_hold_large_boxes(tmp_path: Path) -> None:
    write_lpqld(tmp_path, **SMALL)
    large = ImportOptions(class_names=NAMED.class_names, view_size=256)
    refusal(tmp_path, "batch_0.tar: mix_bbox: uint8 overflow", "256 pixels", options=large)


def test_a_view_size_that_no_box_reaches(tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL | {"epochs": 10}, view=64)
    refusal(tmp_path, "--view-size 64", error=InvalidRequestError)
    assert opened(tmp_path, options=ImportOptions(view_size=64)).facts.num_classes == 12


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([[[3, 3, 3, 15], [0.1] * 4, [1.0] * 4]], "layer 0, row 3: operation 15"),
        ([[[3, -1, 3, 3], [0.1] * 4, [1.0] * 4]], "layer 0, row 1: operation -1"),
        ([[[3, 3, 3, 3], [0.1] * 4, [1.0, -99, 1, 1]]], "row 1: Rotate without its parameter"),
        ([[[3, 3, 3, 3], [0.1] * 4, [1.0, 1, np.nan, 1]]], "layer 0, row 2"),
        ([[[3, 3, 3, 3], [2.0] * 4, [1.0] * 4]], "layer 0, row 0"),
        ([[[3, 3, 3], [0.1] * 3, [1.0] * 3]], "list of 8"),
    ],
)
def test_rand_augment_that_cannot_be_replayed(
    layers: list[list[list[float]]], expected: str, tmp_path: Path
) -> None:
    collated = [
        [torch.tensor(values).to(dtype) for values, dtype in zip(layer, TYPES, strict=True)]
        for layer in layers
    ]
    write_lpqld(tmp_path, **SMALL, parameters=lambda _: collated)
    refusal(tmp_path, "batch_0.tar", expected, name="lpqld", options=NAMED)


TYPES = (torch.int64, torch.float16, torch.float16)


def test_rand_augment_in_another_form_is_refused(tmp_path: Path) -> None:
    write_lpqld(tmp_path, **SMALL, parameters=rand_augment_parameters)
    refusal(tmp_path, "batch_0.tar", "list of 8", name="lpqld", options=NAMED)


def test_patches_are_permutations(tmp_path: Path) -> None:
    write_edc(tmp_path, **SMALL)
    edit(tmp_path / MIDDLE, lambda record: record[7].__setitem__((2, 0, 0), 7))
    refusal(tmp_path, MIDDLE, "patches are neither")


def test_a_sample_has_one_label_an_epoch(tmp_path: Path) -> None:
    truth = write_gvbsm(tmp_path, **SMALL)
    second = int(truth.sample_ids[10])
    edit(tmp_path / MIDDLE, lambda record: record[6].__setitem__(2, second))
    refusal(tmp_path, MIDDLE, f"row 2 is sample {second}, which has a label under seed 1")
    edit(tmp_path / MIDDLE, lambda record: record[6].__setitem__(2, -1))
    refusal(tmp_path, MIDDLE, "sample IDs, row 2: -1 is negative")
