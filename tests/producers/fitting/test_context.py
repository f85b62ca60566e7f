"""Fits that are conditioned on what both ends know of a view."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import from_canonical
from labelcast.torch.decoding import load_decoder
from labelcast_producers.dense.files import LabelRows
from labelcast_producers.dense.labels import TABLES_NAME, DenseLabels, open_labels
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.fitting import FittedCodec, load_fitted
from labelcast_producers.neural.fitted_files import CODEC_FILE, ENCODER_FILE
from tests.factories.fitted import NUM_CLASSES, SAMPLES, SEEDS, fit_file, write_mixed

ROWS = SEEDS * SAMPLES


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed(tmp_path_factory.mktemp("dense"))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, dense: Path) -> FittedCodec:
    return fit_file(dense, tmp_path_factory.mktemp("fit"), codes=1)


@pytest.fixture(scope="module")
def without_codes(tmp_path_factory: pytest.TempPathFactory, dense: Path) -> FittedCodec:
    return fit_file(dense, tmp_path_factory.mktemp("fit"), codes=0)


def unseen_kl(fitted: FittedCodec) -> float:
    assert fitted.report.unseen is not None
    return fitted.report.unseen.kl_nats


def all_rows(labels: LabelRows) -> Any:
    return labels.gather(np.arange(labels.num_rows))


def with_hard_labels(directory: Path, change: Any) -> Path:
    """Dense labels whose hard labels `change` has replaced, or removed."""
    write_mixed(directory)
    tables = safetensors.numpy.load_file(directory / TABLES_NAME)
    hard = change(tables.pop("hard_labels"))
    tables |= {} if hard is None else {"hard_labels": hard}
    safetensors.numpy.save_file(tables, directory / TABLES_NAME)
    return directory


def test_what_is_known_need_not_be_coded(tmp_path: Path, dense: Path, fitted: FittedCodec) -> None:
    plain = fit_file(dense, tmp_path, codes=1, class_width=0)
    assert plain.report.config.seed == fitted.report.config.seed
    assert plain.codec.row_stride == fitted.codec.row_stride == 1
    assert plain.codec.context_stride == 0 < fitted.codec.context_stride
    assert unseen_kl(fitted) < 0.6 * unseen_kl(plain)


def test_the_report_measures_what_the_artifact_decodes(dense: Path, fitted: FittedCodec) -> None:
    labels = DenseLabels.open(dense)
    known = labels.context()
    assert known is not None
    numbers = np.arange(ROWS).reshape(SEEDS, SAMPLES)[5::6].ravel()
    unseen, context = labels.rows.gather(numbers), known.rows(numbers)
    rows = fitted.encoder.encode(unseen, context)
    decoded = load_decoder(fitted.artifact, "cpu")(rows, context)
    np.testing.assert_allclose(fitted.codec.decode(rows, context), decoded, rtol=1e-4, atol=1e-3)
    teacher = torch.log_softmax(torch.from_numpy(unseen).float(), dim=1)
    kl = (teacher.exp() * (teacher - torch.log_softmax(decoded, dim=1))).sum(dim=1).mean()
    assert float(kl) == pytest.approx(unseen_kl(fitted), rel=1e-3)


def test_what_was_written_encodes_alike_later(dense: Path, fitted: FittedCodec) -> None:
    labels = DenseLabels.open(dense)
    known = labels.context()
    assert known is not None
    values, context = all_rows(labels.rows), known.rows(np.arange(ROWS))
    again = load_fitted(fitted.out, device="cpu")
    rows = fitted.encoder.encode(values, context)
    np.testing.assert_array_equal(again.encoder.encode(values, context), rows)
    assert again.report == fitted.report
    assert again.report.config.class_width == 8


def test_a_label_set_declares_its_context_and_decodes(
    tmp_path: Path, dense: Path, fitted: FittedCodec
) -> None:
    labels = DenseLabels.open(dense)
    label_set = write_label_set(labels, fitted.encoder, tmp_path, artifact=fitted.artifact)
    assert label_set.manifest.contract.context is not None
    assert label_set.decoder().context is not None
    views = label_set.index().segments[0].views()
    decoded = label_set.decoder().decode(label_set.gather(views), views)
    teacher = torch.log_softmax(torch.from_numpy(all_rows(labels.rows)).float(), dim=1)
    given = torch.log_softmax(torch.from_numpy(decoded), dim=1)
    kl = float((teacher.exp() * (teacher - given)).sum(dim=1).mean())
    assert label_set.manifest.report is not None
    report = from_canonical(
        label_set.read_blob(label_set.manifest.report), "the report", max_bytes=2**20
    )
    assert report["kl_nats"] == pytest.approx(kl, rel=1e-3)
    # Of views under the context of others the very same codes say other things.
    other = label_set.decoder().decode(label_set.gather(views), views[np.arange(ROWS)[::-1]])
    strayed = torch.log_softmax(torch.from_numpy(other), dim=1)
    assert float((teacher.exp() * (teacher - strayed)).sum(dim=1).mean()) > 10 * kl


def test_labels_without_any_code_are_what_the_context_says(
    dense: Path, fitted: FittedCodec, without_codes: FittedCodec
) -> None:
    report = without_codes.report
    assert np.isfinite(unseen_kl(without_codes))
    assert unseen_kl(fitted) < 0.75 * unseen_kl(without_codes)
    assert without_codes.codec.row_stride == report.bytes_a_label.payload == 0
    assert report.seen.perplexities == ()
    assert report.seen.mean_perplexity == 1
    labels = DenseLabels.open(dense)
    known = labels.context()
    assert known is not None
    context = known.rows(np.arange(ROWS))
    again = load_fitted(without_codes.out, device="cpu")
    rows = again.encoder.encode(all_rows(labels.rows), context)
    assert rows.shape == (ROWS, 0)
    decoded = again.codec.decode(rows, context)
    assert decoded.shape == (ROWS, NUM_CLASSES)
    assert np.isfinite(decoded).all()
    assert np.ptp(decoded, axis=0).min() > 0


def test_a_codec_without_codes_makes_no_label_set_and_spoils_none(
    tmp_path: Path, dense: Path, fitted: FittedCodec, without_codes: FittedCodec
) -> None:
    labels = DenseLabels.open(dense)
    label_set = write_label_set(labels, fitted.encoder, tmp_path, artifact=fitted.artifact)
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(
        InvalidRequestError, match="fit one with codes to make a label set"
    ) as caught:
        write_label_set(labels, without_codes.encoder, tmp_path, artifact=without_codes.artifact)
    assert "\n" not in caught.value.message
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert label_set.digest


@pytest.mark.parametrize("known", [True, False])
def test_without_codes_and_context_nothing_is_left(
    tmp_path: Path, dense: Path, known: bool
) -> None:
    path, width = (dense, 0) if known else (dense / "labels.npy", 8)
    with pytest.raises(InvalidRequestError, match="decoded from their context alone") as caught:
        fit_file(path, tmp_path, codes=0, class_width=width)
    assert caught.value.facts["field"] == "codes"


def test_a_plain_file_is_refused_with_the_ways_to_encode_it(
    tmp_path: Path, dense: Path, fitted: FittedCodec
) -> None:
    plain = open_labels(dense / "labels.npy", LabelKind.LOGITS)
    bare = DenseLabels.open(with_hard_labels(tmp_path / "bare", lambda hard: None))
    for labels in (plain, bare):
        with pytest.raises(LabelFileError, match=r"relabel.*--no-context") as caught:
            write_label_set(labels, fitted.encoder, tmp_path / "set", artifact=fitted.artifact)
        assert "\n" not in caught.value.message
        assert not (tmp_path / "set" / "manifest.json").exists()


def test_a_fit_without_context_is_that_of_the_plain_file(tmp_path: Path, dense: Path) -> None:
    bare = with_hard_labels(tmp_path / "bare", lambda hard: None)
    outs = [tmp_path / name for name in ("plain", "width", "bare")]
    fit_file(dense / "labels.npy", outs[0], steps=20)
    fit_file(dense, outs[1], steps=20, class_width=0)
    fit_file(bare, outs[2], steps=20)
    for name in (CODEC_FILE, ENCODER_FILE):
        assert len({(out / name).read_bytes() for out in outs}) == 1, name
    assert load_fitted(outs[0]).report.config.class_width == 0


def test_another_context_is_another_fit(tmp_path: Path) -> None:
    before = fit_file(write_mixed(tmp_path / "dense"), tmp_path / "out", steps=2).report
    changed = with_hard_labels(tmp_path / "dense", lambda hard: np.roll(hard, 1))
    with pytest.raises(InvalidRequestError, match="other settings or labels"):
        fit_file(changed, tmp_path / "out", steps=2)
    after = fit_file(changed, tmp_path / "out", steps=2, resume=False).report
    assert after.labels_digest != before.labels_digest


@pytest.mark.parametrize("stranger", [-1, NUM_CLASSES])
def test_hard_labels_of_other_classes_are_refused(tmp_path: Path, stranger: int) -> None:
    changed = with_hard_labels(tmp_path / "dense", lambda hard: np.full_like(hard, stranger))
    with pytest.raises(LabelFileError, match=f"hard labels must be 0 to {NUM_CLASSES - 1}"):
        fit_file(changed, tmp_path / "out", steps=2)
