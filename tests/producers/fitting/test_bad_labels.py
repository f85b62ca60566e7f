"""Labels as they come: each gives a clear error, or a codec that is right."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError, LabelValueError
from labelcast_producers.dense.files import open_label_file
from labelcast_producers.dense.labels import open_for_fitting, open_labels
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.fitting import FittedCodec
from labelcast_producers.fitting.target import target_config
from labelcast_producers.neural.chosen_encoder import choose_encoder
from tests.factories.fitted import fit_file, write_labels

Labels = NDArray[np.float32]
RNG = np.random.default_rng(0)
LOGITS: Labels = RNG.normal(0, 3, (12, 40, 12)).astype(np.float32)


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    values = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = values / values.sum(axis=-1, keepdims=True)
    return shares


def decoded(fitted: FittedCodec, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities that a student gets for `labels`, flattened to (rows, C)."""
    rows = fitted.encoder.encode(labels.reshape(-1, labels.shape[-1]))
    logits = fitted.codec.decode(rows)
    assert np.isfinite(logits.astype(np.float16)).all()
    return softmax(logits)


def fit_target(directory: Path, labels: Labels, target_bytes: int) -> FittedCodec:
    """A small network with the codes that a target chooses."""
    path = write_labels(directory, labels)
    chosen = target_config(target_bytes, {}, open_label_file(path))
    sizes = chosen.model_dump(include={"codes", "codebook_size", "codeword_width"})
    return fit_file(path, directory / "out", **(sizes | {"steps": 200}))


@pytest.mark.parametrize("target_bytes", [1, 8])
@pytest.mark.parametrize(
    "row",
    [[0.0] * 5, [-3.0] * 5, [4.0, -1.0, 0.0, 2.0, 3.5], [7.0], [1.0, -2.0]],
    ids=["zeros", "constant", "five classes", "one class", "two classes"],
)
def test_rows_that_are_all_the_same_decode_to_that_row(
    tmp_path: Path, row: list[float], target_bytes: int
) -> None:
    labels = np.tile(np.array(row, np.float32), (12, 10, 1))
    fitted = fit_target(tmp_path, labels, target_bytes)
    expected = softmax(labels).reshape(-1, len(row))
    np.testing.assert_allclose(decoded(fitted, labels), expected, atol=0.01)
    for measured in (fitted.report.seen, fitted.report.unseen):
        assert measured is not None
        assert measured.kl_nats == pytest.approx(0, abs=1e-3)
        # Where all classes are alike, any of them is the likeliest.
        assert measured.top1_agreement == measured.top5_agreement == 1
        assert measured.perplexities == pytest.approx([1.0] * len(measured.perplexities))


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("target_bytes", [1, 8])
def test_one_and_two_classes_are_kept(tmp_path: Path, classes: int, target_bytes: int) -> None:
    labels = LOGITS[..., :classes].copy()
    fitted = fit_target(tmp_path, labels, target_bytes)
    expected = softmax(labels).reshape(-1, classes)
    assert np.abs(decoded(fitted, labels) - expected).mean() < 0.02
    assert fitted.report.unseen is not None
    assert fitted.report.unseen.top1_agreement > 0.95
    assert fitted.report.unseen.top5_agreement == 1


@pytest.mark.parametrize("rows", [1, 2, 5, 40])
def test_fewer_rows_than_codewords_are_kept(tmp_path: Path, rows: int) -> None:
    labels = LOGITS.reshape(-1, 12)[:rows].copy()
    path = write_labels(tmp_path, labels)
    fitted = fit_file(path, tmp_path / "out", codes=4, codebook_size=256, holdout_every=0)
    assert fitted.report.unseen is None
    assert fitted.report.seen.kl_nats < 0.05
    assert max(fitted.report.seen.perplexities) <= rows + 1e-3
    agree = decoded(fitted, labels).argmax(axis=1) == labels.argmax(axis=1)
    assert agree.mean() > 0.9


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", list(LabelKind))
def test_what_is_not_finite_is_refused_by_its_row(
    tmp_path: Path, value: float, kind: LabelKind
) -> None:
    labels = LOGITS if kind is LabelKind.LOGITS else softmax(LOGITS).astype(np.float32)
    labels = labels.copy()
    labels[7, 3, 5] = value
    path = write_labels(tmp_path, labels)
    with pytest.raises(LabelValueError, match=r"row 283 .*relabel or drop") as caught:
        fit_file(path, tmp_path / "out", kind=kind)
    assert caught.value.facts["row"] == "283"
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_logits_beyond_fp16_decode_to_what_they_mean(tmp_path: Path) -> None:
    labels = LOGITS * np.float32(1e6)
    fitted = fit_file(write_labels(tmp_path, labels), tmp_path / "out")
    assert fitted.report.seen.top1_agreement > 0.99
    assert fitted.report.seen.kl_nats < 0.05
    np.testing.assert_allclose(
        decoded(fitted, labels).mean(axis=0), softmax(labels).mean(axis=(0, 1)), atol=0.02
    )


@pytest.mark.parametrize("value", [-1e6, -3e38])
def test_a_class_masked_by_a_huge_negative_logit_stays_masked(tmp_path: Path, value: float) -> None:
    labels = LOGITS.copy()
    labels[..., 5] = value
    fitted = fit_file(write_labels(tmp_path, labels), tmp_path / "out")
    assert fitted.report.unseen is not None
    assert fitted.report.unseen.kl_nats < 0.4
    assert decoded(fitted, labels)[:, 5].max() < 1e-6


@pytest.mark.parametrize("value", [1e6, -1e6])
def test_one_huge_logit_does_not_spoil_the_other_rows(tmp_path: Path, value: float) -> None:
    labels = LOGITS.copy()
    labels[3, 4, 5] = value
    fitted = fit_file(write_labels(tmp_path, labels), tmp_path / "out")
    assert fitted.report.unseen is not None
    assert fitted.report.unseen.kl_nats < 0.4
    assert fitted.report.unseen.top1_agreement > 0.75


@pytest.mark.parametrize("codec", ["raw:fp32", "topk:2"])
def test_what_is_kept_of_the_largest_floats_is_a_number(tmp_path: Path, codec: str) -> None:
    labels = LOGITS.copy()
    labels[3, 4, :2] = 3e38, -3e38
    dense = open_labels(write_labels(tmp_path, labels), LabelKind.LOGITS)
    chosen = choose_encoder(codec, dense.description, temperature=1.0, device="cpu")
    label_set = write_label_set(dense, chosen.encoder, tmp_path / "set")
    assert label_set.manifest.report is not None
    report = json.loads(label_set.read_blob(label_set.manifest.report))
    assert 0 <= report["kl_nats"] < 1
    assert report["top1_agreement"] == 1


def test_an_offset_of_all_logits_means_nothing(tmp_path: Path) -> None:
    labels = LOGITS + np.float32(1e5)
    fitted = fit_file(write_labels(tmp_path, labels), tmp_path / "out")
    assert fitted.report.unseen is not None
    assert fitted.report.unseen.kl_nats < 0.4


def test_values_beyond_fp16_are_refused_by_raw_fp16_and_kept_by_raw_fp32(tmp_path: Path) -> None:
    labels = LOGITS.copy()
    labels[3, 4, 5] = 1e6
    dense = open_labels(write_labels(tmp_path, labels), LabelKind.LOGITS)

    def encode(codec: str) -> NDArray[np.uint8]:
        chosen = choose_encoder(codec, dense.description, temperature=1.0, device="cpu")
        return chosen.encoder.encode(dense.rows.read(0, dense.rows.num_rows))

    with pytest.raises(LabelValueError, match="row 124 overflows fp16; use fp32"):
        encode("raw:fp16")
    assert encode("raw:fp32").view(np.float32).max() == 1e6
    assert encode("topk:2").view(np.uint8).shape == (480, 8)


def test_probabilities_called_logits_are_refused_with_the_fix(tmp_path: Path) -> None:
    probabilities = softmax(LOGITS)
    for stored in (probabilities.astype(np.float16), probabilities.astype(np.float32)):
        path = write_labels(tmp_path, stored)
        with pytest.raises(LabelValueError, match="--label-kind probabilities"):
            fit_file(path, tmp_path / "out")
        out = tmp_path / str(stored.dtype)
        fit_file(path, out, kind=LabelKind.PROBABILITIES, steps=2)
    hard = np.eye(12, dtype=np.float32)[RNG.integers(0, 12, (12, 40))]
    with pytest.raises(LabelValueError, match="--label-kind probabilities"):
        fit_file(write_labels(tmp_path, hard), tmp_path / "hard")


def test_fit_and_encode_agree_on_rows_that_are_nearly_all_distributions(tmp_path: Path) -> None:
    labels = softmax(LOGITS).astype(np.float32)
    labels[:, 0] = LOGITS[:, 0]
    path = write_labels(tmp_path, labels)
    for open_as in (open_for_fitting, open_labels):
        with pytest.raises(LabelValueError, match=r"nearly every row.*--label-kind probabilities"):
            open_as(path, None)
    # One row that is none is enough for who says that they are logits.
    stated = open_labels(path, LabelKind.LOGITS)
    fitted = fit_file(path, tmp_path / "out", steps=2)
    write_label_set(stated, fitted.encoder, tmp_path / "set")


def test_hard_labels_are_probabilities_that_are_kept(tmp_path: Path) -> None:
    hard = np.eye(12, dtype=np.float32)[RNG.integers(0, 12, (12, 40))]
    path = write_labels(tmp_path, hard)
    fitted = fit_file(path, tmp_path / "out", kind=LabelKind.PROBABILITIES)
    assert fitted.report.seen.kl_nats < 0.01
    assert fitted.report.seen.top1_agreement == 1
    np.testing.assert_allclose(decoded(fitted, hard), hard.reshape(-1, 12), atol=0.05)


def test_logits_called_probabilities_are_refused_with_the_fix(tmp_path: Path) -> None:
    path = write_labels(tmp_path, LOGITS)
    with pytest.raises(LabelValueError, match="--label-kind logits"):
        fit_file(path, tmp_path / "out", kind=LabelKind.PROBABILITIES)


def test_log_probabilities_are_logits(tmp_path: Path) -> None:
    labels = np.log(softmax(LOGITS)).astype(np.float32)
    fitted = fit_file(write_labels(tmp_path, labels), tmp_path / "out")
    assert fitted.report.unseen is not None
    assert fitted.report.unseen.kl_nats < 0.4


def test_impossible_targets_are_refused(tmp_path: Path) -> None:
    labels = open_label_file(write_labels(tmp_path, LOGITS))
    for target in (0.1, 2.5, 0, 257):
        with pytest.raises(InvalidRequestError, match="possible are whole numbers from 1 to 256"):
            target_config(target, {}, labels)
