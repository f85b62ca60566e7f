"""Files of no format: the nearest reason is said, and what it advises makes them importable."""

import gzip
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import torch

from labelcast.codec import LabelKind
from labelcast.errors import LabelFileError
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.recognition import recognise
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.truth_checks import names, one_line
from tests.producers.formats.writers.apple_dr import write_apple_dr
from tests.producers.formats.writers.fkd import write_fkd
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.tinyvit import write_tinyvit

SMALL: dict[str, Any] = {"samples": 6, "epochs": 2, "batch_size": 3, "classes": 5}
FKD: dict[str, Any] = {"samples": 6, "epochs": 2, "classes": 5, "label_type": "full"}


def refused(path: Path, *parts: str, format_name: str = "auto") -> None:
    with pytest.raises(LabelFileError) as raised:
        recognise(path, format_name)
    one_line(raised.value, *parts)


def each_file(directory: Path, change: Callable[[Path], Any]) -> None:
    for file in sorted(directory.rglob("*.tar")):
        change(file)


def saved_again(change: Callable[[Any], Any], **options: Any) -> Callable[[Path], None]:
    def save(file: Path) -> None:
        torch.save(change(torch.load(file, weights_only=False)), file, **options)

    return save


@pytest.mark.parametrize(
    ("write", "arguments", "name"),
    [
        (write_sre2l, SMALL, "sre2l"),
        (write_fkd, FKD, "fkd"),
        (write_apple_dr, {"samples": 6, "epochs": 2, "classes": 5}, "ml-dr"),
    ],
)
def test_files_of_older_torch(
    tmp_path: Path, write: Callable[..., Any], arguments: dict[str, Any], name: str
) -> None:
    write(tmp_path, **arguments)
    each_file(tmp_path, saved_again(lambda it: it, _use_new_zipfile_serialization=False))
    for format_name in ("auto", name):
        refused(tmp_path, "before 1.6", "save it again", format_name=format_name)
    each_file(tmp_path, saved_again(lambda it: it))
    assert recognise(tmp_path)[0].name == name


@pytest.mark.parametrize(
    ("spoil", "advice", "mend"),
    [
        (tuple, "tuples as lists", list),
        (
            lambda six: [*six[:5], six[5].numpy()],
            "numpy arrays as tensors",
            lambda six: [*six[:5], torch.from_numpy(six[5])],
        ),
        (
            lambda six: [*six[:5], six[5].double()],
            "float64 labels as float32",
            lambda six: [*six[:5], six[5].float()],
        ),
    ],
)
def test_batches_saved_otherwise(
    tmp_path: Path, spoil: Callable[[Any], Any], advice: str, mend: Callable[[Any], Any]
) -> None:
    write_sre2l(tmp_path, **SMALL)
    each_file(tmp_path, saved_again(spoil))
    for format_name in ("auto", "sre2l"):
        refused(tmp_path, "batch_0.tar is", advice, format_name=format_name)
    each_file(tmp_path, saved_again(mend))
    assert recognise(tmp_path)[0].name == "sre2l"


def test_float64_arrays_and_tuples_of_fkd_are_read(tmp_path: Path) -> None:
    write_fkd(tmp_path, **FKD)
    each_file(tmp_path, saved_again(lambda it: (it[0], it[1], it[2].double().numpy())))
    labels = Import.open(tmp_path, ImportOptions(class_names=names(5))).write_dense(
        tmp_path.parent / "dense"
    )
    assert labels.rows.read(0, 1).dtype == np.float32


def test_packed_files(tmp_path: Path) -> None:
    write_sre2l(tmp_path / "files", **SMALL)

    def pack(file: Path) -> None:
        (file.parent / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()

    each_file(tmp_path / "files", pack)
    refused(tmp_path / "files", "batch_0.tar.gz is compressed with gzip", "gzip -dc FILE > NEW")
    for file in (tmp_path / "files").rglob("*.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    assert recognise(tmp_path / "files")[0].name == "sre2l"


def test_an_archive_of_the_directory(tmp_path: Path) -> None:
    write_sre2l(tmp_path / "files", **SMALL)
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(tmp_path / "files", "files")
    refused(tmp_path / "all.tar", "is an archive of files", "tar -xf")


@pytest.mark.parametrize(
    ("write", "arguments", "within", "below"),
    [
        (write_fkd, FKD, "imagenet/train", "class_000"),
        (
            write_tinyvit,
            {"samples": 6, "epochs": 2, "classes": 5, "k": 3},
            "a",
            "logits_top3_epoch0",
        ),
    ],
)
def test_a_directory_too_high_or_too_low(
    tmp_path: Path, write: Callable[..., Any], arguments: dict[str, Any], within: str, below: str
) -> None:
    right = tmp_path / "save" / within
    write(right, **arguments)
    name = recognise(right)[0].name
    for format_name in ("auto", name):
        refused(tmp_path / "save", f"{name} in {right}: give that", format_name=format_name)
        refused(right / below, f"of {name}: give", str(right), format_name=format_name)


def test_class_directories_may_nest(tmp_path: Path) -> None:
    """As those of Tiny ImageNet: `<class>/images/<name>`."""
    paths = [f"class_{sample}/images/{sample}.png" for sample in range(6)]
    write_fkd(tmp_path / "files", **FKD, names=paths)
    assert recognise(tmp_path / "files")[1].inside["classes"] == 6


def test_one_batch_alone(tmp_path: Path) -> None:
    write_sre2l(tmp_path / "files", **SMALL)
    one = shutil.copy(tmp_path / "files" / "epoch_0" / "batch_0.tar", tmp_path / "one.tar")
    refused(Path(one), "is one batch: give the directory")


@pytest.mark.parametrize("format_name", ["auto", "distillkit"])
def test_distillkits_older_parquet(tmp_path: Path, format_name: str) -> None:
    columns = {name: [[1]] for name in ("packed_indices", "exact_values", "coeffs")}
    pq.write_table(pa.table({"input_ids": [[1]], **columns}), tmp_path / "data_0.parquet")
    refused(tmp_path, "legacy compression", "write the labels again", format_name=format_name)


def test_other_things_are_described(tmp_path: Path) -> None:
    torch.save(["a", 1], tmp_path / "notes.pt")
    refused(tmp_path, "notes.pt holds list of 2 (str, int), which no format has")
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    torch.save(torch.nn.Linear(2, 2), tmp_path / "teacher.pt")
    refused(tmp_path, "teacher.pt wants to run")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("named", [False, True])
def test_a_plain_tensor_of_logits(tmp_path: Path, dtype: torch.dtype, named: bool) -> None:
    logits = torch.randn(2, 6, 5).to(dtype) * 3
    ids = torch.arange(6) * 2 + 1
    torch.save({"labels": logits, "sample_ids": ids} if named else logits, tmp_path / "logits.pt")
    labels = Import.open(tmp_path / "logits.pt")
    assert labels.facts.label_kind is LabelKind.LOGITS
    dense = labels.write_dense(tmp_path / "dense")
    expected = logits.float().numpy().reshape(12, 5)
    np.testing.assert_array_equal(dense.rows.read(0, 12).astype(np.float32), expected)
    assert dense.index.sample_ids.tolist() == (ids if named else torch.arange(6)).tolist()


@pytest.mark.parametrize(
    ("wrap", "holds"),
    [
        (lambda logits: (logits,), "tuple of 1 (float32 [6, 5])"),
        (lambda logits: [logits, torch.arange(6)], "list of 2 (float32 [6, 5], int64 [6])"),
        (lambda logits: {"epoch": 3, "train": {"logits": logits}}, "dict"),
    ],
)
def test_labels_among_other_things(tmp_path: Path, wrap: Callable[[Any], Any], holds: str) -> None:
    logits = torch.randn(6, 5) * 3
    torch.save(wrap(logits), tmp_path / "tup.pt")
    says = "which no format has; save labels alone, as a tensor of floats (N, C)"
    for path in (tmp_path, tmp_path / "tup.pt"):
        refused(path, f"tup.pt holds {holds}, {says}")
    torch.save(logits, tmp_path / "tup.pt")
    assert recognise(tmp_path / "tup.pt")[0].name == "arrays"


def test_a_pickled_array_is_no_reason_to_fail(tmp_path: Path) -> None:
    torch.save(np.zeros((6, 5, 4)), tmp_path / "a.pt")
    refused(tmp_path, "a.pt")


def test_one_file_of_fkds_in_another_type(tmp_path: Path) -> None:
    write_fkd(tmp_path, **FKD)
    file = sorted(tmp_path.rglob("*.tar"))[1]
    good = file.read_bytes()
    saved_again(lambda it: [it[0], it[1], it[2].double()])(file)
    with pytest.raises(LabelFileError) as raised:
        Import.open(tmp_path, ImportOptions(class_names=names(5)))
    one_line(raised.value, f"{file}: labels are float64", "write all in one type")
    file.write_bytes(good)
    Import.open(tmp_path, ImportOptions(class_names=names(5)))


def test_other_tensors_are_no_labels(tmp_path: Path) -> None:
    torch.save({"weight": torch.randn(5, 3), "bias": torch.randn(5)}, tmp_path / "teacher.pt")
    with pytest.raises(LabelFileError, match="cannot tell what bias is; save labels and"):
        Import.open(tmp_path / "teacher.pt")
    torch.save(torch.zeros(0, 5), tmp_path / "empty.pt")
    with pytest.raises(LabelFileError, match=r"empty\.pt is empty"):
        Import.open(tmp_path / "empty.pt")
    torch.save(torch.randn(5, 3, 4, 4), tmp_path / "images.pt")
    refused(tmp_path / "images.pt", "holds float32 [5, 3, 4, 4], which no format has")


@pytest.mark.parametrize("format_name", ["auto", "arrays"])
def test_arrays_that_are_no_labels(tmp_path: Path, format_name: str) -> None:
    images, labels = (
        np.zeros((6, 4, 4, 3), np.float32),
        np.random.default_rng(0).normal(size=(6, 5)),
    )
    wanted = ("(N, C) or (seeds, N, C)", "save it so")
    np.savez(tmp_path / "set.npz", image=images)
    refused(tmp_path, "set.npz holds image float32 [6, 4, 4, 3]", *wanted, format_name=format_name)
    np.savez(tmp_path / "set.npz", one=labels, other=labels)
    refused(tmp_path / "set.npz", "one float64 [6, 5], other float64 [6, 5]", *wanted)
    np.savez(tmp_path / "set.npz", labels=labels)
    assert recognise(tmp_path / "set.npz")[0].name == "arrays"
    np.save(tmp_path / "hard.npy", np.arange(6))
    refused(tmp_path / "hard.npy", "hard.npy holds int64 [6]", *wanted)
    pq.write_table(pa.table({"label": [1.0, 2.0]}), tmp_path / "flat.parquet")
    refused(tmp_path / "flat.parquet", "label double", "one column of lists of floats; save it so")
    pq.write_table(pa.table({"label": [[1.0, 2.0]]}), tmp_path / "flat.parquet")
    assert recognise(tmp_path / "flat.parquet")[0].name == "arrays"


@pytest.mark.parametrize("format_name", ["auto", "arrays", "distilled"])
def test_labels_of_images_that_are_gone(tmp_path: Path, format_name: str) -> None:
    np.save(tmp_path / "y.npy", np.random.default_rng(0).normal(size=(6, 5)))
    refused(tmp_path, "holds labels in y.npy: give that file", format_name=format_name)
    assert recognise(tmp_path / "y.npy")[0].name == "arrays"


def test_one_file_of_many_is_called_a_file(tmp_path: Path) -> None:
    write_fkd(tmp_path / "fkd", **FKD)
    write_tinyvit(tmp_path / "tinyvit", samples=6, epochs=2, classes=5, k=3)
    write_apple_dr(tmp_path / "ml-dr", samples=6, epochs=2, classes=5)
    for file in sorted((tmp_path / "fkd").rglob("*.tar")):
        refused(file, "is the file of one image of fkd", f"its class, {file.parent.parent}")
    for file in sorted((tmp_path / "tinyvit").rglob("*.*")):
        refused(file, "is a file of one epoch of tinyvit", f"give {tmp_path / 'tinyvit'}")
    refused(tmp_path / "ml-dr" / "3.pth.tar", f"files of ml-dr: give {tmp_path / 'ml-dr'}")
    for name in ("ml-dr", "tinyvit"):
        assert recognise(tmp_path / name)[1].format == name
