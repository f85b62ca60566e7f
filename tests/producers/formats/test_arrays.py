"""Plain arrays: every container, every label; and every way to be wrong."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from safetensors.numpy import save_file

from labelcast.augmentation import ForeignPolicy
from labelcast.codec import LabelKind
from labelcast.errors import DataError, InvalidRequestError, LabelFileError, LabelValueError
from labelcast.label_set import RowOrder, SampleOrder
from labelcast_producers.formats.arrays import ArrayImporter, ArraySource
from labelcast_producers.formats.arrays import importer as arrays
from labelcast_producers.formats.arrays import npz as npz_rows
from labelcast_producers.formats.arrays import parquet as parquet_rows
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.truth_checks import check_labels, finding_of, names, one_line, open_own
from tests.producers.formats.writers.arrays import Container, write_arrays
from tests.producers.formats.writers.distilled_sets import write_frepo
from tests.producers.formats.writers.distillkit import EXACT, write_distillkit

CONTAINERS: list[Container] = ["npy", "npz", "safetensors", "parquet"]
NONE = ImportOptions()
LOGITS = np.random.default_rng(0).normal(0, 3, (6, 4)).astype(np.float32)


def opened(path: Path, options: ImportOptions = NONE) -> ArraySource:
    return open_own(ArrayImporter(), path, options)


@pytest.mark.parametrize(
    ("container", "with_ids"),
    # An .npy has no place for IDs, and Parquet always has some here.
    [
        ("npy", False),
        ("npz", False),
        ("npz", True),
        ("safetensors", False),
        ("safetensors", True),
        ("parquet", True),
    ],
)
@pytest.mark.parametrize("epochs", [None, 3])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_every_container(
    tmp_path: Path, container: Container, epochs: int | None, with_ids: bool, dtype: Any
) -> None:
    truth = write_arrays(
        tmp_path,
        container=container,
        samples=7,
        classes=5,
        epochs=epochs,
        with_ids=with_ids,
        dtype=dtype,
    )

    source = opened(tmp_path / f"labels.{container}")

    assert source.facts.label_kind is LabelKind.LOGITS
    assert source.facts.temperature is None
    assert source.facts.top_k is None
    # One label a sample is that of the sample; nothing says what several would be of.
    assert source.facts.policy == (None if epochs is None else ForeignPolicy())
    assert source.facts.order is SampleOrder.GIVEN
    assert source.facts.index.row_order is RowOrder.SEED_MAJOR
    assert source.facts.index.present is None
    assert source.records() is None
    numbered = any("number the rows" in note for note in source.facts.notes)
    assert numbered == (not with_ids)
    axes = [note for note in source.facts.notes if "(seeds, samples, classes)" in note]
    # Parquet has columns of seeds and samples instead.
    assert len(axes) == (epochs is not None and container != "parquet")
    assert not axes or "3 seeds of 7 samples with 5 classes" in axes[0]
    check_labels(source, truth, exact=True)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("rows_per_part", [1, 3, 100])
def test_parts_of_any_size_and_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: Container, rows_per_part: int
) -> None:
    monkeypatch.setattr(arrays, "PART_BYTES", rows_per_part * 4 * 5)
    monkeypatch.setattr(parquet_rows, "_BATCH_ROWS", 4)
    monkeypatch.setattr(npz_rows, "_PIECE_BYTES", 7)
    truth = write_arrays(
        tmp_path,
        container=container,
        samples=7,
        classes=5,
        epochs=3,
        with_ids=container != "npy",
    )
    source = opened(tmp_path / f"labels.{container}")
    check_labels(source, truth, exact=True)
    forwards = [source.read(part) for part in source.parts]
    backwards = [source.read(part) for part in reversed(source.parts)]
    for one, other in zip(forwards, reversed(backwards), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", [None, LabelKind.PROBABILITIES])
def test_probabilities(tmp_path: Path, container: Container, kind: LabelKind | None) -> None:
    truth = write_arrays(
        tmp_path,
        container=container,
        samples=7,
        classes=5,
        label_kind="probabilities",
        temperature=3.0,
        with_ids=container == "parquet",
    )
    path = tmp_path / f"labels.{container}"
    source = opened(path, ImportOptions(label_kind=kind, temperature=3.0))
    assert source.facts.temperature == 3
    check_labels(source, truth, exact=True)
    assert opened(path).facts.temperature == 1
    assert any("temperature 1" in note for note in opened(path).facts.notes)


def test_compressed_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", logits=LOGITS, ids=np.arange(6)[::-1])
    source = opened(tmp_path / "a.npz")
    assert source.facts.index.sample_ids.tolist() == list(range(6))
    assert source.parts[0].rows.tolist() == [5, 4, 3, 2, 1, 0]
    np.testing.assert_array_equal(source.read(source.parts[0]), LOGITS)


def test_bfloat16(tmp_path: Path) -> None:
    bits = (LOGITS.view(np.uint32) >> 16).astype(np.uint16)
    save_file({"labels": bits}, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes().replace(b'"U16"', b'"BF16"')
    # The header is one byte longer, which its padding gives.
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size + 1].rstrip(b" ")
    header += b" " * (-len(header) % 8)
    data = content[len(content) - bits.nbytes :]
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    source = opened(tmp_path / "a.safetensors")
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(source.read(source.parts[0]), expected)


@pytest.mark.parametrize("container", CONTAINERS)
def test_truncated_files(tmp_path: Path, container: Container) -> None:
    write_arrays(tmp_path, container=container, samples=70, classes=5)
    path = tmp_path / f"labels.{container}"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(LabelFileError) as raised:
        opened(path)
    one_line(raised.value, str(path), "truncated")


@pytest.mark.parametrize("container", CONTAINERS)
def test_labels_that_are_not_finite(tmp_path: Path, container: Container) -> None:
    labels = LOGITS.copy()
    labels[4, 1] = np.nan
    path = tmp_path / f"a.{container}"
    if container == "npy":
        np.save(path, labels)
    elif container == "npz":
        np.savez(path, labels=labels)
    elif container == "safetensors":
        save_file({"labels": labels}, path)
    else:
        pq.write_table(
            pa.table({"labels": pa.array(labels.tolist(), pa.list_(pa.float32()))}), path
        )
    with pytest.raises(LabelValueError) as raised:
        opened(path)
    one_line(raised.value, str(path), "row 4 holds NaN")


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_pickled_objects_are_never_run(tmp_path: Path, name: str) -> None:
    objects = np.array([{"label": 1}, None], dtype=object)
    if name == "a.npz":
        np.savez(tmp_path / name, labels=objects)
    else:
        np.save(tmp_path / name, objects)
    with pytest.raises(LabelFileError) as raised:
        ArrayImporter().detect(tmp_path / name)
    one_line(raised.value, name, "objects")


def npz_of(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.npy", content)


def test_npz_whose_header_lies(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, LOGITS)
    path = tmp_path / "a.npz"
    npz_of(path, buffer.getvalue().replace(b"(6, 4)", b"(8, 4)"))
    with pytest.raises(LabelFileError, match="not of the size that its header says"):
        opened(path)
    npz_of(path, b"\x93NUMPY\x09\x00" + buffer.getvalue()[8:])
    with pytest.raises(LabelFileError, match=r"a\.npz"):
        opened(path)
    path.write_bytes(b"nothing")
    with pytest.raises(LabelFileError, match="no npz file"):
        opened(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"(6, 4), }", b"((6, 4),}"), (b"(6, 4)", b"(-6,4)"), (b"'<f4'", b"'<q4'")],
)
def test_headers_that_are_none(tmp_path: Path, old: bytes, new: bytes) -> None:
    buffer = io.BytesIO()
    np.save(buffer, LOGITS)
    content = buffer.getvalue().replace(old, new)
    assert content != buffer.getvalue()
    npz_of(tmp_path / "a.npz", content)
    (tmp_path / "a.npy").write_bytes(content)
    for name in ("a.npz", "a.npy"):
        with pytest.raises(LabelFileError, match=name):
            opened(tmp_path / name)


def test_npz_that_claims_more_than_it_can_hold(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (2**26, 4)}
    )
    path = tmp_path / "a.npz"
    npz_of(path, buffer.getvalue())
    content = bytearray(path.read_bytes())
    # The size in the directory, which is at the end: of the header alone, and of what it claims.
    at = content.rindex(len(buffer.getvalue()).to_bytes(4, "little"))
    content[at : at + 4] = (len(buffer.getvalue()) + 2**30).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(LabelFileError, match="cannot be as large as it is said to be"):
        opened(path)


def test_damage_is_found_as_it_is_read(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).normal(0, 3, (3000, 8)).astype(np.float32)
    np.savez(tmp_path / "a.npz", labels=labels)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[-3000] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    source = opened(tmp_path / "a.npz")
    with pytest.raises(LabelFileError, match=r"a\.npz is no npz file, or is truncated or damaged"):
        source.read(source.parts[0])


@pytest.mark.parametrize(
    ("arrays_of", "says"),
    [
        ({"labels": LOGITS.astype(np.float64)}, "holds float64; save float16 or float32"),
        ({"labels": np.asfortranarray(LOGITS)}, "Fortran order"),
        ({"labels": LOGITS, "ids": np.arange(5)}, "6 integers belong"),
        ({"labels": LOGITS, "ids": np.arange(6.0)}, "6 integers belong"),
        ({"labels": LOGITS, "weights": np.arange(6)}, "cannot tell what weights is"),
        ({"labels": LOGITS, "ids": np.zeros(6, np.int64)}, "is there twice"),
        ({"labels": LOGITS[:0]}, "empty"),
    ],
)
def test_npz_of_other_arrays(
    tmp_path: Path, arrays_of: dict[str, np.ndarray[Any, Any]], says: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays_of)  # type: ignore[arg-type]
    with pytest.raises(LabelFileError) as raised:
        opened(tmp_path / "a.npz")
    one_line(raised.value, "a.npz", says)


def test_ids_of_another_length_in_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"labels": LOGITS, "sample_ids": np.arange(5)}, path)
    with pytest.raises(LabelFileError, match="6 integers belong"):
        opened(path)
    save_file({"labels": LOGITS.astype(np.float64)}, path)
    with pytest.raises(LabelFileError, match="F64"):
        opened(path)


@pytest.mark.parametrize(
    ("kind", "like", "error", "says"),
    [
        (LabelKind.LOGITS, "probabilities", LabelValueError, "not logits"),
        (LabelKind.PROBABILITIES, "logits", LabelValueError, "no distributions"),
    ],
)
def test_the_kind_is_checked(
    tmp_path: Path, kind: LabelKind, like: Any, error: type[DataError], says: str
) -> None:
    write_arrays(tmp_path, container="npy", samples=7, classes=5, label_kind=like)
    with pytest.raises(error) as raised:
        opened(tmp_path / "labels.npy", ImportOptions(label_kind=kind))
    one_line(raised.value, "labels.npy", says)


def test_one_class_tells_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", LOGITS[:, :1])
    with pytest.raises(InvalidRequestError, match="--label-kind"):
        opened(tmp_path / "a.npy")
    source = opened(tmp_path / "a.npy", ImportOptions(label_kind=LabelKind.LOGITS))
    assert source.facts.num_classes == 1


def test_a_late_row_that_is_no_distribution(tmp_path: Path) -> None:
    labels = np.full((2000, 4), 0.25, dtype=np.float32)
    labels[1500] = [0.5, 0.5, 0.5, 0.5]
    np.save(tmp_path / "a.npy", labels)
    source = opened(tmp_path / "a.npy")
    with pytest.raises(LabelValueError, match=r"a\.npy, row 1500: no distribution"):
        source.read(source.parts[0])


def test_class_names_must_be_as_many(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", LOGITS)
    assert opened(tmp_path / "a.npy", ImportOptions(class_names=names(4))).facts.class_names
    with pytest.raises(InvalidRequestError, match="4 classes, but 3 class names"):
        opened(tmp_path / "a.npy", ImportOptions(class_names=names(3)))


def test_what_inspect_shows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", soft=LOGITS.astype(np.float16), sample_ids=np.arange(6))
    finding = finding_of(ArrayImporter(), tmp_path / "a.npz")
    assert finding.inside == {
        "labels": "soft",
        "shape": [6, 4],
        "dtype": "float16",
        "sample_ids": True,
        "seeds": False,
        "others": [],
    }


def test_other_files_are_not_ours(tmp_path: Path) -> None:
    write_frepo(tmp_path / "set.npz", samples=8, classes=4)
    write_distillkit(tmp_path, EXACT, lengths=[2])
    np.save(tmp_path / "images.npy", np.zeros((2, 3, 4, 4), np.float32))
    np.save(tmp_path / "hard.npy", np.zeros(5, np.int64))
    np.savez(tmp_path / "two.npz", a=LOGITS, b=LOGITS)
    (tmp_path / "labels.tar").touch()
    for path in [tmp_path, tmp_path / "missing", *tmp_path.iterdir()]:
        assert ArrayImporter().detect(path) is None
    with pytest.raises(LabelFileError, match="holds no array of labels"):
        ArrayImporter().open(tmp_path / "two.npz", NONE)
