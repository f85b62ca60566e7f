"""Dense labels → label set: rows that decode to the labels, and a report that is right."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.canary import shown_classes
from labelcast.codec import LabelKind, Rows, TemperatureRange
from labelcast.errors import LabelFileError, LabelValueError, ManifestError
from labelcast.label_set import ViewIndex, from_canonical
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_producers.dense.files import LabelFile
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.encoding import label_set_writer as bundling
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import ChosenEncoder, choose_encoder
from tests.factories.decoded import undecided
from tests.factories.dense import (
    CLASSES,
    HARD,
    IDS,
    POLICY,
    SAMPLES,
    SEEDS,
    logits,
    softened,
    write_dense,
)
from tests.factories.fitted import fit_file

ROWS = SAMPLES * SEEDS
CODECS = ["raw:fp16", "raw:fp32", "topk:3", "topk:6", "topk:2:renormalise", "vqae"]


def dense_labels(directory: Path, **changes: Any) -> DenseLabels:
    return DenseLabels.open(write_dense(directory, **changes))


def chosen(name: str, dense: DenseLabels, directory: Path) -> ChosenEncoder:
    if name == "vqae":
        assert isinstance(dense.rows, LabelFile)
        fit_file(dense.rows.path, directory / "codec", steps=40)
        name = str(directory / "codec")
    return choose_encoder(name, dense.description, temperature=2.0, device="cpu")


def encoded(name: str, dense: DenseLabels, directory: Path, **options: Any) -> LabelSetDirectory:
    encoder = chosen(name, dense, directory)
    return write_label_set(
        dense,
        encoder.encoder,
        directory / "label-set",
        artifact=encoder.artifact,
        fit_report=encoder.fit_report,
        **options,
    )


def codes_of(label_set: LabelSetDirectory) -> Rows:
    return label_set.gather(label_set.index().segments[0].views())


def decoded(label_set: LabelSetDirectory) -> NDArray[np.float32]:
    return label_set.codec().decode(codes_of(label_set))


def report_of(label_set: LabelSetDirectory) -> dict[str, Any]:
    assert label_set.manifest.report is not None
    content = label_set.read_blob(label_set.manifest.report)
    report: dict[str, Any] = from_canonical(content, "report", max_bytes=2**20)
    return report


@pytest.mark.parametrize("name", ["raw:fp16", "raw:fp32"])
def test_raw_rows_are_the_labels(tmp_path: Path, name: str) -> None:
    label_set = encoded(name, dense_labels(tmp_path), tmp_path)
    assert np.array_equal(decoded(label_set), logits().reshape(ROWS, -1).astype(np.float32))


@pytest.mark.parametrize("k", [1, 3, CLASSES])
def test_top_k_rows_hold_the_likeliest_probabilities(tmp_path: Path, k: int) -> None:
    label_set = encoded(f"topk:{k}", dense_labels(tmp_path), tmp_path)
    expected = softened(logits().reshape(ROWS, -1), 2.0)
    labels = decoded(label_set)
    top = np.argsort(-expected, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(expected, top, axis=1)
    assert np.abs(np.take_along_axis(labels, top, axis=1) - kept).max() <= 2**-10
    assert np.abs(labels.sum(axis=1) - 1).max() < 2e-3
    for row in range(ROWS):
        rest = np.delete(labels[row], top[row])
        assert np.ptp(rest) == 0 if len(rest) else True


def test_a_label_set_says_what_was_relabelled(tmp_path: Path) -> None:
    dense = dense_labels(tmp_path)
    label_set = encoded("topk:3", dense, tmp_path)
    contract, told = label_set.manifest.contract, dense.description
    assert (contract.teacher, contract.dataset) == (told.teacher, told.dataset)
    assert (contract.class_list, contract.policy) == (told.class_list, POLICY)
    assert contract.label_kind is LabelKind.PROBABILITIES
    assert contract.temperatures == TemperatureRange(2.0, 2.0)
    assert contract.codec == label_set.manifest.codec.digest
    (index,) = label_set.index().segments
    assert index.sample_ids.tolist() == IDS.tolist()
    assert index.seeds.tolist() == list(range(SEEDS))
    hard = label_set.manifest.segments[0].hard_labels
    assert hard is not None
    assert label_set.column(hard, "<u4").tolist() == HARD.tolist()


def log_shares(values: NDArray[Any], kind: LabelKind, temperature: float) -> NDArray[np.float64]:
    if kind is LabelKind.PROBABILITIES:
        logs: NDArray[np.float64] = np.log(np.maximum(values.astype(np.float64), 1e-30))
        return logs
    scaled = values.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    shares: NDArray[np.float64] = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return shares


@pytest.mark.parametrize("name", CODECS)
def test_the_report_is_what_one_counts_by_hand(tmp_path: Path, name: str) -> None:
    dense = dense_labels(tmp_path)
    label_set = encoded(name, dense, tmp_path)
    report, labels = report_of(label_set), decoded(label_set)
    teacher = logits().reshape(ROWS, -1)
    views = ViewIndex([dense.index]).segments[0].views()
    agreeing, tied = 0, undecided(labels)
    for row in range(ROWS):
        own, partner = shown_classes(views[row : row + 1], POLICY, IDS, HARD)[:, 0]
        agreeing += int(labels[row].argmax()) in (int(own), int(partner))
    assert report["labels"] == ROWS
    assert abs(report["hard_label_agreement"] * ROWS - agreeing) <= tied + 1e-6
    assert 0.5 < report["hard_label_agreement"] < 1
    same = (labels.argmax(axis=1) == teacher.argmax(axis=1)).mean()
    assert abs(report["top1_agreement"] - same) <= tied / ROWS + 1e-6
    header = label_set.codec().header
    ends = header.temperatures
    temperature = 1.0 if ends is None else math.sqrt(ends.low * ends.high)
    wanted = log_shares(teacher, LabelKind.LOGITS, temperature)
    given = log_shares(labels, header.label_kind, temperature)
    divergence = (np.exp(wanted) * (wanted - given)).sum(axis=1).mean()
    assert report["kl_nats"] == pytest.approx(divergence, rel=1e-3, abs=1e-4)
    assert ("fit" in report) == (name == "vqae")
    if name == "vqae":
        assert 0 < divergence < 2


@pytest.mark.parametrize("name", ["raw:fp16", "topk:3", "vqae"])
def test_blocks_make_no_difference(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    dense = dense_labels(tmp_path)
    whole = encoded(name, dense, tmp_path)
    monkeypatch.setattr(bundling, "_BLOCK_BYTES", 7 * 4 * CLASSES)
    encoder = chosen(name, dense, tmp_path)
    pieces = write_label_set(
        dense,
        encoder.encoder,
        tmp_path / "pieces",
        artifact=encoder.artifact,
        fit_report=encoder.fit_report,
        progress=lambda *step: told.append(step),
    )
    assert told == [(done, 120) for done in (*range(0, 120, 7), 120)]
    if name == "vqae":
        # Of codes that serve equally well, blocks of another size may take another.
        same = (codes_of(pieces) == codes_of(whole)).all(axis=1)
        assert same.mean() > 0.9
        assert report_of(pieces)["kl_nats"] == pytest.approx(report_of(whole)["kl_nats"], rel=1e-3)
    else:
        assert pieces.manifest.segments == whole.manifest.segments
    assert pieces.manifest.contract == whole.manifest.contract


def test_without_hard_labels_there_is_no_agreement(tmp_path: Path) -> None:
    label_set = encoded("raw:fp16", dense_labels(tmp_path, hard=None), tmp_path)
    assert report_of(label_set)["hard_label_agreement"] is None
    assert label_set.manifest.segments[0].hard_labels is None


@pytest.mark.parametrize("name", ["raw:fp32", "topk:6"])
def test_probabilities_keep_their_temperature(tmp_path: Path, name: str) -> None:
    shares = softened(logits(), 4.0)
    dense = dense_labels(
        tmp_path, labels=shares, label_kind=LabelKind.PROBABILITIES, temperature=4.0
    )
    label_set = encoded(name, dense, tmp_path)
    assert label_set.manifest.contract.temperatures == TemperatureRange(4.0, 4.0)
    assert np.abs(decoded(label_set) - shares.reshape(ROWS, -1)).max() < 2e-3


def test_probabilities_called_logits_are_refused(tmp_path: Path) -> None:
    dense = dense_labels(tmp_path, labels=softened(logits(), 1.0))
    with pytest.raises(LabelValueError, match="probabilities, not logits"):
        encoded("raw:fp16", dense, tmp_path)


def test_a_label_that_overflows_is_named_by_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = logits().astype(np.float32)
    labels[3, 11, 2] = 1e5
    dense = dense_labels(tmp_path, labels=labels)
    monkeypatch.setattr(bundling, "_BLOCK_BYTES", 7 * 4 * CLASSES)
    with pytest.raises(LabelValueError) as caught:
        encoded("raw:fp16", dense, tmp_path)
    assert caught.value.facts["row"] == str(3 * SAMPLES + 11)
    with pytest.raises(ManifestError, match="no finished label set"):
        LabelSetDirectory(tmp_path / "label-set")


def test_an_encoder_of_other_classes_is_refused(tmp_path: Path) -> None:
    dense = dense_labels(tmp_path / "six")
    other = dense_labels(tmp_path / "five", labels=logits()[:, :, :5], num_classes=5, hard=HARD % 5)
    encoder = chosen("raw:fp16", other, tmp_path).encoder
    with pytest.raises(LabelFileError, match="5 classes"):
        write_label_set(dense, encoder, tmp_path / "label-set")


def test_a_run_that_fails_leaves_no_finished_label_set(tmp_path: Path) -> None:
    encoded("raw:fp16", dense_labels(tmp_path), tmp_path)
    spoilt = logits().astype(np.float32)
    spoilt[2, 5, 0] = 1e5
    with pytest.raises(LabelValueError):
        encoded("raw:fp16", dense_labels(tmp_path, labels=spoilt), tmp_path)
    with pytest.raises(ManifestError, match="no finished label set"):
        LabelSetDirectory(tmp_path / "label-set")
