import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from labelcast.codec import LabelKind
from labelcast.errors import LabelFileError, LabelValueError
from labelcast_producers.dense.files import open_label_file
from labelcast_producers.dense.label_kind import check_label_kind, looks_like_probabilities

VALUES = np.random.default_rng(0).normal(0, 4, (12, 5))


def softmax(values: Any) -> Any:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def write(path: Path, values: Any) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        safetensors.numpy.save_file({"labels": np.ascontiguousarray(values)}, path)
    return path


@pytest.fixture(params=["labels.npy", "labels.safetensors"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name: str = request.param
    return tmp_path / name


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_are_read_as_stored(path: Path, dtype: type[Any]) -> None:
    stored = VALUES.astype(dtype)
    labels = open_label_file(write(path, stored))
    assert (labels.num_rows, labels.num_classes, labels.rows_per_seed) == (12, 5, None)
    block = labels.read(3, 7)
    assert block.dtype == dtype
    np.testing.assert_array_equal(block, stored[3:7])
    rows = np.array([11, 0, 0, 5])
    np.testing.assert_array_equal(labels.gather(rows), stored[rows])
    block[:] = 0
    np.testing.assert_array_equal(labels.read(3, 7), stored[3:7])


def test_three_axes_are_flattened_seed_major(path: Path) -> None:
    stored = VALUES.astype(np.float32).reshape(3, 4, 5)
    labels = open_label_file(write(path, stored))
    assert (labels.num_rows, labels.rows_per_seed) == (12, 4)
    np.testing.assert_array_equal(labels.read(4, 8), stored[1])


def test_big_endian_files_are_read_right(tmp_path: Path) -> None:
    labels = open_label_file(write(tmp_path / "labels.npy", VALUES.astype(">f4")))
    np.testing.assert_array_equal(labels.read(0, 12), VALUES.astype(np.float32))


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    values = torch.from_numpy(VALUES).bfloat16()
    safetensors.torch.save_file({"labels": values}, tmp_path / "labels.safetensors")
    block = open_label_file(tmp_path / "labels.safetensors").gather(np.array([2, 1]))
    np.testing.assert_array_equal(block, values.float().numpy()[[2, 1]])


def test_one_of_several_tensors_is_named(tmp_path: Path) -> None:
    file = tmp_path / "labels.safetensors"
    safetensors.numpy.save_file({"a": VALUES.astype("<f4"), "b": VALUES.astype("<f2")}, file)
    assert open_label_file(file, tensor="b").read(0, 1).dtype == np.float16
    for wrong in (None, "c"):
        with pytest.raises(LabelFileError, match=r"'a', 'b'"):
            open_label_file(file, tensor=wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_bad_row_is_named(path: Path, value: float) -> None:
    stored = VALUES.astype(np.float16)
    stored[[6, 9], 2] = value
    labels = open_label_file(write(path, stored))
    labels.read(0, 6)
    with pytest.raises(LabelValueError, match="row 6 "):
        labels.read(5, 12)
    with pytest.raises(LabelValueError, match="row 9 "):
        labels.gather(np.array([1, 9, 6]))


@pytest.mark.parametrize(
    "values",
    [
        VALUES,
        VALUES.astype(np.int64),
        VALUES.astype(np.complex64),
        VALUES[0].astype(np.float32),
        VALUES.reshape(1, 3, 4, 5).astype(np.float32),
        np.zeros((0, 5), np.float32),
        np.zeros((5, 0), np.float32),
        np.zeros((), np.float32),
    ],
    ids=["f8", "int", "complex", "1-D", "4-D", "no rows", "no classes", "scalar"],
)
def test_other_arrays_are_refused(tmp_path: Path, values: Any) -> None:
    with pytest.raises(LabelFileError):
        open_label_file(write(tmp_path / "labels.npy", values))
    if values.dtype.kind != "c":
        with pytest.raises(LabelFileError):
            open_label_file(write(tmp_path / "labels.safetensors", values))


def test_scattered_rows_are_refused_with_the_fix(tmp_path: Path) -> None:
    stored = np.asfortranarray(VALUES.astype(np.float32))
    with pytest.raises(LabelFileError, match="ascontiguousarray"):
        open_label_file(write(tmp_path / "labels.npy", stored))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    file = tmp_path / "labels.npy"
    np.save(file, np.array([[{"a": 1}]]), allow_pickle=True)
    with pytest.raises(LabelFileError):
        open_label_file(file)


def test_every_truncation_is_refused(path: Path) -> None:
    content = write(path, VALUES[:2].astype(np.float32)).read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(LabelFileError):
            open_label_file(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.update(shape=[2**40, 2**40]),
        lambda entry: entry.update(shape=[-2, -5]),
        lambda entry: entry.update(shape="ab"),
        lambda entry: entry.update(shape=[float("inf")]),
        lambda entry: entry.update(data_offsets=[-4, 36]),
        lambda entry: entry.update(data_offsets=[4, 44]),
        lambda entry: entry.update(data_offsets=[0]),
        lambda entry: entry.update(dtype="F8_E4M3"),
        lambda entry: entry.clear(),
    ],
)
def test_safetensors_headers_that_lie_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    entry: dict[str, Any] = {"dtype": "F32", "shape": [2, 5], "data_offsets": [0, 40]}
    change(entry)
    header = json.dumps({"labels": entry}).encode()
    file = tmp_path / "labels.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(40))
    with pytest.raises(LabelFileError):
        open_label_file(file)


def test_a_missing_path_and_another_suffix_say_what_to_give(tmp_path: Path) -> None:
    for name in ("absent.npy", "absent", "absent.txt"):
        with pytest.raises(LabelFileError, match=rf"{tmp_path / name} is not there; give a dir"):
            open_label_file(tmp_path / name)
    logits = np.zeros((3, 4), dtype=np.float32)
    (tmp_path / "labels.txt").write_bytes(logits.tobytes())
    with pytest.raises(LabelFileError, match=r"neither \.npy nor \.saf.*; save it with"):
        open_label_file(tmp_path / "labels.txt")
    np.save(tmp_path / "labels.npy", logits)
    assert open_label_file(tmp_path / "labels.npy").num_rows == 3


def test_rows_outside_the_file_are_refused(path: Path) -> None:
    labels = open_label_file(write(path, VALUES.astype(np.float32)))
    for start, stop in ((-1, 2), (3, 2), (0, 13)):
        with pytest.raises(LabelFileError):
            labels.read(start, stop)
    for row in (-1, 12):
        with pytest.raises(LabelFileError):
            labels.gather(np.array([row]))


def test_runs_are_joined_in_any_order(path: Path) -> None:
    stored = VALUES.astype(np.float32)
    labels = open_label_file(write(path, stored))
    for rows in ([0], [3, 4, 5], [5, 4, 3], [4, 5, 5, 6, 0, 1, 11], list(range(12)), []):
        np.testing.assert_array_equal(labels.gather(np.array(rows, np.int64)), stored[rows])


def test_a_file_that_becomes_shorter_or_vanishes_is_refused(path: Path) -> None:
    labels = open_label_file(write(path, VALUES.astype(np.float32)))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    labels.read(0, 11)
    with pytest.raises(LabelFileError, match="shorter"):
        labels.read(10, 12)
    path.unlink()
    with pytest.raises(LabelFileError, match="cannot read"):
        labels.gather(np.array([0]))


def test_an_open_file_can_be_sent_to_another_process(path: Path) -> None:
    stored = VALUES.astype(np.float16).reshape(3, 4, 5)
    labels = pickle.loads(pickle.dumps(open_label_file(write(path, stored))))
    assert (labels.num_rows, labels.rows_per_seed) == (12, 4)
    np.testing.assert_array_equal(labels.read(4, 8), stored[1])


def test_what_was_read_stays_out_of_memory(tmp_path: Path) -> None:
    rows, classes = 2**15, 2**10
    file = tmp_path / "labels.npy"
    np.lib.format.open_memmap(file, "w+", np.float16, (rows, classes)).flush()
    labels = open_label_file(file)
    process = psutil.Process()
    before = process.memory_info().rss
    for start in range(0, rows, 2**10):
        labels.read(start, start + 2**10)
    assert process.memory_info().rss - before < 2**25  # half of the file


def test_another_number_of_classes_is_refused(path: Path) -> None:
    labels = open_label_file(write(path, VALUES.astype(np.float32)))
    labels.expect_classes(5)
    with pytest.raises(LabelFileError, match="5 classes a row, expected 6"):
        labels.expect_classes(6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_probabilities_are_told_from_logits(dtype: type[Any]) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (64, 1000)).astype(dtype)
    probabilities = softmax(logits.astype(np.float32)).astype(dtype)
    assert looks_like_probabilities(probabilities)
    assert not looks_like_probabilities(logits)
    assert not looks_like_probabilities(np.ones((4, 1), dtype))
    check_label_kind(logits, LabelKind.LOGITS)
    check_label_kind(probabilities, LabelKind.PROBABILITIES)
    with pytest.raises(LabelValueError, match="--label-kind probabilities"):
        check_label_kind(probabilities, LabelKind.LOGITS)
    with pytest.raises(LabelValueError, match="--label-kind logits"):
        check_label_kind(logits, LabelKind.PROBABILITIES)


@pytest.mark.parametrize(("spoiled", "told"), [(1, True), (6, True), (7, False), (64, False)])
def test_a_few_odd_rows_do_not_make_logits_of_probabilities(spoiled: int, told: bool) -> None:
    rows = softmax(np.random.default_rng(0).normal(0, 3, (64, 1000))).astype(np.float32)
    rows[:spoiled] *= np.float32(0.97)
    if told:
        with pytest.raises(LabelValueError, match="--label-kind probabilities"):
            check_label_kind(rows, LabelKind.LOGITS)
    else:
        check_label_kind(rows, LabelKind.LOGITS)
    # Who calls them probabilities is held to it in every row.
    with pytest.raises(LabelValueError, match="--label-kind logits"):
        check_label_kind(rows, LabelKind.PROBABILITIES)


def test_the_largest_floats_are_logits() -> None:
    check_label_kind(np.full((64, 1000), 3e38, np.float32), LabelKind.LOGITS)
