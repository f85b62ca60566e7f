"""Values that mean something else than their layout says: refused with the option that works."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import DataError, InvalidRequestError, LabelFileError, LabelValueError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.shared.meaning import exact_below
from labelcast_producers.formats.shared.top_k import checked_ids
from labelcast_producers.formats.source import ImportOptions
from labelcast_producers.neural.chosen_encoder import choose_encoder
from tests.factories.command import run_labelcast
from tests.producers.formats.truth_checks import names, one_line
from tests.producers.formats.writers.apple_dr import write_apple_dr
from tests.producers.formats.writers.edc import write_edc
from tests.producers.formats.writers.fkd import write_fkd
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.hald import write_hald
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import write_lpqld
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.tinyvit import write_tinyvit

SMALL: dict[str, Any] = {"samples": 12, "epochs": 2, "batch_size": 4, "classes": 12}
PROBABILITIES = ImportOptions(label_kind=LabelKind.PROBABILITIES, temperature=2.0)
LOGITS = ImportOptions(label_kind=LabelKind.LOGITS, class_names=names(12))
NAMED = ImportOptions(class_names=names(12))


def rewritten(directory: Path, edit: Callable[[Any], Any]) -> None:
    """Write every torch file of a directory again, otherwise as it was."""
    for file in directory.rglob("*.tar"):
        torch.save(edit(torch.load(file, weights_only=False)), file)


def softmax(labels: torch.Tensor) -> torch.Tensor:
    return torch.softmax(labels.float(), dim=1).to(labels.dtype)


def at(position: int, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], Any]:
    def edit(record: list[Any]) -> list[Any]:
        record[position] = change(record[position])
        return record

    return edit


@pytest.mark.parametrize(
    ("write", "position"),
    [(write_sre2l, 5), (write_lpld, 5), (write_gvbsm, 5), (write_edc, 5)],
)
def test_probabilities_in_a_layout_of_logits(
    tmp_path: Path, write: Callable[..., Any], position: int
) -> None:
    truth = write(tmp_path / "files", **SMALL)
    rewritten(tmp_path / "files", at(position, softmax))
    labels = Import.open(tmp_path / "files", ImportOptions())
    for refused in (labels.write_dense, labels.write_label_set):
        with pytest.raises(LabelValueError) as raised:
            refused(tmp_path / "out")
        one_line(raised.value, "these are probabilities", "--label-kind probabilities")
        assert not (tmp_path / "out" / "labels.json").exists()
        assert not (tmp_path / "out" / "manifest.json").exists()
    # Nobody's word makes logits of them.
    with pytest.raises(LabelValueError, match="--label-kind probabilities"):
        Import.open(tmp_path / "files", ImportOptions(label_kind=LabelKind.LOGITS)).write_dense(
            tmp_path / "out"
        )
    labels = Import.open(tmp_path / "files", PROBABILITIES)
    assert any("as --label-kind says" in note for note in labels.notes)
    dense = labels.write_dense(tmp_path / "dense")
    assert dense.description.label_kind is LabelKind.PROBABILITIES
    assert dense.description.temperature == 2
    made = labels.write_label_set(tmp_path / "set").manifest.contract
    assert made.label_kind is LabelKind.PROBABILITIES
    assert made.temperatures is not None
    assert made.temperatures.low == made.temperatures.high == 2
    assert len(truth) == dense.rows.num_rows


@pytest.mark.parametrize("write", [write_sre2l, write_gvbsm])
def test_one_batch_of_probabilities_among_logits(tmp_path: Path, write: Callable[..., Any]) -> None:
    write(tmp_path / "files", **SMALL)
    file = max(path for path in (tmp_path / "files").rglob("*") if path.is_file())
    stored = torch.load(file, weights_only=False)
    record = stored if isinstance(stored[0], torch.Tensor) else stored[-1]
    record[5] = softmax(record[5])
    torch.save(stored, file)
    for refused in (
        Import.open(tmp_path / "files").write_dense,
        Import.open(tmp_path / "files").write_label_set,
    ):
        with pytest.raises(LabelValueError) as raised:
            refused(tmp_path / "out")
        one_line(raised.value, str(file), "others of these files are logits")
        assert not (tmp_path / "out" / "labels.json").exists()
        assert not (tmp_path / "out" / "manifest.json").exists()


def test_batches_of_which_a_row_is_no_distribution_are_logits(tmp_path: Path) -> None:
    def nearly(logits: torch.Tensor) -> torch.Tensor:
        values = softmax(logits)
        # In 0…1 too, but of another sum.
        values[::8] *= 0.5
        return values

    write_sre2l(tmp_path / "files", **SMALL)
    rewritten(tmp_path / "files", at(5, nearly))
    dense = Import.open(tmp_path / "files").write_dense(tmp_path / "dense")
    assert dense.description.label_kind is LabelKind.LOGITS
    made = write_label_set(
        dense,
        choose_encoder("raw:fp16", dense.description, temperature=1, device="cpu").encoder,
        tmp_path / "set",
    )
    assert made.manifest.contract.label_kind is LabelKind.LOGITS


def test_logits_in_zero_to_one_are_logits(tmp_path: Path) -> None:
    write_sre2l(tmp_path / "files", **SMALL)
    rewritten(tmp_path / "files", at(5, torch.sigmoid))
    dense = Import.open(tmp_path / "files").write_dense(tmp_path / "dense")
    assert dense.description.label_kind is LabelKind.LOGITS


def test_import_and_encode_agree(tmp_path: Path) -> None:
    write_sre2l(tmp_path / "files", **SMALL)
    rewritten(tmp_path / "files", at(5, softmax))
    files, out = tmp_path / "files", tmp_path / "dense"
    refused = run_labelcast("import", str(files), "--out", str(out))
    assert "--label-kind probabilities" in refused.stderr
    assert len(refused.stderr.strip().splitlines()[-1:]) == 1
    kind = ("--label-kind", "probabilities", "--temperature", "2")
    assert not run_labelcast("import", str(files), "--out", str(out), *kind).returncode
    encode = ("encode", "--labels", str(out), "--codec", "raw:fp16", "--out", str(tmp_path / "set"))
    assert not run_labelcast(*encode).returncode
    assert LabelSetDirectory(tmp_path / "set").manifest.contract.label_kind == "probabilities"
    # The directory knows; who says else is told where to say it.
    refused = run_labelcast(*encode, "--label-kind", "logits")
    assert "holds probabilities" in refused.stderr
    assert not run_labelcast(*encode, "--label-kind", "probabilities").returncode


def test_encoding_of_wrongly_described_labels_says_what_works(tmp_path: Path) -> None:
    write_sre2l(tmp_path / "files", **SMALL)
    rewritten(tmp_path / "files", at(5, softmax))
    dense = Import.open(tmp_path / "files", PROBABILITIES).write_dense(tmp_path / "dense")
    wrong = dataclasses.replace(dense.description, label_kind=LabelKind.LOGITS, temperature=None)
    (tmp_path / "dense" / "labels.json").write_bytes(wrong.to_bytes())
    encode = ("encode", "--labels", str(tmp_path / "dense"), "--codec", "raw:fp16")
    refused = run_labelcast(*encode, "--out", str(tmp_path / "set"))
    assert "to the import that wrote it" in refused.stderr


def test_logits_in_halds_layout(tmp_path: Path) -> None:
    write_hald(tmp_path / "files", **SMALL)

    def to_logits(batches: list[list[Any]]) -> list[list[Any]]:
        return [at(5, lambda labels: labels.float().log().half() + 1)(batch) for batch in batches]

    rewritten(tmp_path / "files", to_logits)
    labels = Import.open(tmp_path / "files", ImportOptions(temperature=20))
    with pytest.raises(LabelValueError) as raised:
        labels.write_dense(tmp_path / "out")
    one_line(raised.value, "look like logits", "--label-kind logits")
    dense = Import.open(tmp_path / "files", LOGITS).write_dense(tmp_path / "dense")
    assert dense.description.label_kind is LabelKind.LOGITS
    assert dense.description.temperature is None


def test_probabilities_of_the_top_k_in_lpqlds_layout(tmp_path: Path) -> None:
    write_lpqld(tmp_path / "files", **SMALL)

    def edit(record: list[Any]) -> list[Any]:
        record[-2] = softmax(record[-2]) * 0.9
        return record

    rewritten(tmp_path / "files", edit)
    with pytest.raises(LabelValueError) as raised:
        Import.open(tmp_path / "files", NAMED).write_label_set(tmp_path / "out")
    one_line(raised.value, "--label-kind probabilities", "or --label-kind logits")
    said = dataclasses.replace(PROBABILITIES, class_names=names(12))
    with pytest.raises(InvalidRequestError, match="--recovery spread, renormalise or zero"):
        Import.open(tmp_path / "files", said)
    said = dataclasses.replace(said, recovery=Recovery.SPREAD)
    source = Import.open(tmp_path / "files", said).source
    rows = source.read(source.parts[0])
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-3)
    # Seven classes of twelve share what is missing to 1.
    assert (np.isclose(rows, 0.1 / 7, atol=2e-4).sum(axis=1) >= 7).all()
    for options in (said, LOGITS):
        made = Import.open(tmp_path / "files", options).write_label_set(
            tmp_path / str(options.label_kind)
        )
        assert made.manifest.contract.label_kind is options.label_kind


MIXED: dict[str, Any] = {"samples": 33, "epochs": 2, "batch_size": 16, "classes": 12}


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("warm", [1, 20])
@pytest.mark.parametrize("codec", [None, "raw:fp16"])
def test_one_batch_of_probabilities_among_top_k_logits(
    tmp_path: Path, number: int, warm: float, codec: str | None
) -> None:
    write_lpqld(tmp_path / "files", **MIXED)
    file = tmp_path / "files" / f"batch_{number}.tar"
    good = file.read_bytes()
    record = torch.load(file, weights_only=False)
    record[-2] = softmax(record[-2] / warm)
    torch.save(record, file)
    with pytest.raises(LabelValueError) as raised:
        Import.open(tmp_path / "files", NAMED).write_label_set(tmp_path / "out", codec=codec)
    one_line(
        raised.value, f"{file}: all its labels", "fetch that batch again", "before the softmax"
    )
    assert not (tmp_path / "out" / "manifest.json").exists()
    # Both pieces of advice: what the user says is believed, and the good file is good.
    said = Import.open(tmp_path / "files", LOGITS).write_label_set(tmp_path / "said", codec=codec)
    assert said.manifest.contract.label_kind is LabelKind.LOGITS
    file.write_bytes(good)
    Import.open(tmp_path / "files", NAMED).write_label_set(tmp_path / "again", codec=codec)


def test_batches_with_small_logits_among_larger_ones_are_logits(tmp_path: Path) -> None:
    """Where some rows of every batch are small, a batch of small ones alone may be logits."""
    write_lpqld(tmp_path / "files", **MIXED)

    def mostly_small(record: list[Any]) -> list[Any]:
        record[-2] = softmax(record[-2])
        record[-2][5:9] *= 3
        return record

    rewritten(tmp_path / "files", mostly_small)
    record = torch.load(tmp_path / "files" / "batch_1.tar", weights_only=False)
    record[-2] = softmax(record[-2])
    torch.save(record, tmp_path / "files" / "batch_1.tar")
    made = Import.open(tmp_path / "files", NAMED).write_label_set(tmp_path / "set")
    assert made.manifest.contract.label_kind is LabelKind.LOGITS


@pytest.mark.parametrize("label_type", ["full", "marginal_smoothing_k5"])
def test_logits_in_fkds_layout(tmp_path: Path, label_type: Any) -> None:
    write_fkd(tmp_path / "files", samples=12, epochs=3, classes=12, label_type=label_type)

    def to_logits(three: list[Any]) -> list[Any]:
        label = three[2] if label_type == "full" else three[2][:, 1]
        label[...] = label.log() + 3
        return three

    rewritten(tmp_path / "files", to_logits)
    with pytest.raises(LabelValueError) as raised:
        Import.open(tmp_path / "files", NAMED).write_label_set(tmp_path / "out")
    one_line(raised.value, "look like logits", "--label-kind logits")
    made = Import.open(tmp_path / "files", LOGITS).write_label_set(tmp_path / "set")
    assert made.manifest.contract.label_kind is LabelKind.LOGITS


def test_log_probabilities_are_logits(tmp_path: Path) -> None:
    write_fkd(tmp_path / "files", samples=12, epochs=3, classes=12, label_type="full")
    rewritten(tmp_path / "files", at(2, torch.log))
    with pytest.raises(LabelValueError, match=r"log-probabilities.*--label-kind logits"):
        Import.open(tmp_path / "files").write_dense(tmp_path / "out")
    dense = Import.open(tmp_path / "files", LOGITS).write_dense(tmp_path / "dense")
    assert dense.description.label_kind is LabelKind.LOGITS


def test_logits_in_tinyvits_layout(tmp_path: Path) -> None:
    write_tinyvit(tmp_path / "files", samples=12, epochs=2, classes=12, k=3)
    record = np.dtype([("seed", "<i4"), ("ids", "<i2", (3,)), ("values", "<f2", (3,))])
    for file in (tmp_path / "files").rglob("*.bin"):
        rows = np.fromfile(file, record)
        rows["values"] = np.log(rows["values"]) + 4
        rows.tofile(file)
    with pytest.raises(LabelValueError, match="--label-kind logits"):
        Import.open(tmp_path / "files", NAMED)
    made = Import.open(tmp_path / "files", LOGITS).write_label_set(tmp_path / "set")
    assert made.manifest.contract.label_kind is LabelKind.LOGITS


def test_logits_in_ml_drs_layout(tmp_path: Path) -> None:
    write_apple_dr(tmp_path / "files", samples=12, epochs=2, classes=12)

    def to_logits(content: Any) -> Any:
        number, views = content
        for view in views:
            values, ids = view["prob"]
            view["prob"] = ([float(value.log()) + 5 for value in values], ids)
        return number, views

    rewritten(tmp_path / "files", to_logits)
    with pytest.raises(LabelValueError, match="--label-kind logits"):
        Import.open(tmp_path / "files", dataclasses.replace(NAMED, recovery=Recovery.SPREAD))
    made = Import.open(tmp_path / "files", LOGITS).write_label_set(tmp_path / "set")
    assert made.manifest.contract.label_kind is LabelKind.LOGITS
    with pytest.raises(InvalidRequestError, match="leave it out"):
        Import.open(tmp_path / "files", dataclasses.replace(LOGITS, recovery=Recovery.SPREAD))


@pytest.mark.parametrize("label_type", ["hard", "smoothing", "marginal_smoothing_k5"])
def test_class_ids_that_half_precision_rounds(tmp_path: Path, label_type: Any) -> None:
    """As FKD writes them with --use_fp16: above 2,048 every second ID becomes its neighbour."""
    write_fkd(tmp_path / "files", samples=6, epochs=8, classes=2500, label_type=label_type)
    recovery = Recovery.SPREAD if "_k" in label_type else None
    options = ImportOptions(class_names=names(2500), recovery=recovery)
    exact = Import.open(tmp_path / "files", options).write_label_set(tmp_path / "exact")
    assert exact.manifest.contract.num_classes == 2500
    rewritten(tmp_path / "files", at(2, lambda label: label.to(torch.float16)))
    with pytest.raises(LabelFileError) as raised:
        Import.open(tmp_path / "files", options)
    one_line(raised.value, "float16", "from 2048 on", "without --use_fp16")


@pytest.mark.parametrize(
    ("ids", "classes", "limit"),
    [
        (np.array([[2047.0]], np.float16), 2048, None),
        (np.array([[2048.0]], np.float16), 2049, None),
        (np.array([[2047.0]], np.float16), 5000, None),
        (np.array([[2048.0]], np.float16), 2050, "from 2048 on"),
        (np.array([[2.0**24 - 1]], np.float32), 2**25, None),
        (np.array([[2.0**24]], np.float32), 2**25, "from 16777216 on"),
        (np.array([[255]], np.uint8), 256, None),
        (np.array([[3]], np.uint8), 1000, "holds none from 256 on"),
        (np.array([[3]], np.int16), 40_000, "holds none from 32768 on"),
    ],
)
def test_what_a_type_tells_apart(ids: Any, classes: int, limit: str | None) -> None:
    if limit is None:
        assert checked_ids(ids, classes, str).tolist() == ids.tolist()
        return
    with pytest.raises(DataError, match=limit):
        checked_ids(ids, classes, str)


def test_bfloat16_is_told_by_the_values_beside_it() -> None:
    probabilities = torch.softmax(torch.randn(8, 2, 5), dim=2)
    probabilities[:, 0] = torch.arange(300, 305).float()
    assert exact_below(probabilities.numpy()) == 2**24
    assert exact_below(probabilities.bfloat16().float().numpy()) == 2**8
    assert exact_below(np.arange(4, dtype=np.float32) * 512) == 2**24


def test_a_single_fraction_is_not_bfloat16() -> None:
    assert exact_below(np.array([[300, 0.5], [301, 0.25]], np.float32)) == 2**24
