import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from labelcast.codec import LabelKind, read_artifact
from labelcast.errors import (
    CodecFormatError,
    DigestMismatchError,
    InvalidRequestError,
    LabelValueError,
)
from labelcast.torch.decoding import load_decoder
from labelcast_producers.fitting import FittedCodec, load_fitted
from labelcast_producers.fitting.fit import CHECKPOINT_FILE, LOG_FILE
from labelcast_producers.fitting.report import read_report
from labelcast_producers.fitting.steps import Loop
from labelcast_producers.neural.encoder_file import METADATA_KEY, load_encoder
from labelcast_producers.neural.fitted_files import CODEC_FILE, ENCODER_FILE, REPORT_FILE
from tests.factories.fitted import (
    NUM_CLASSES,
    SAMPLES,
    SEEDS,
    fit_file,
    teacher_logits,
    write_labels,
)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FittedCodec:
    directory = tmp_path_factory.mktemp("fit")
    return fit_file(write_labels(directory), directory / "out")


def kl_of_the_mean_label(temperature: float = 1.0) -> float:
    """What a codec of no codes at all would reach."""
    logits = torch.from_numpy(teacher_logits()).float().reshape(-1, NUM_CLASSES)
    teacher = torch.log_softmax(logits / temperature, dim=1)
    mean = teacher.exp().mean(dim=0).log()
    return float((teacher.exp() * (teacher - mean)).sum(dim=1).mean())


def test_a_fit_keeps_most_of_the_teacher_on_views_it_never_saw(fitted: FittedCodec) -> None:
    report = fitted.report
    assert report.unseen is not None
    assert report.unseen.kl_nats < 0.35 * kl_of_the_mean_label()
    assert report.unseen.top1_agreement > 0.6
    assert report.unseen.top5_agreement >= report.unseen.top1_agreement
    assert min(report.unseen.perplexities) > 4


def test_the_loss_falls(fitted: FittedCodec) -> None:
    lines = [json.loads(line) for line in (fitted.out / LOG_FILE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 50, 100, 150, 200, 250, 299]
    assert set(lines[0]) == {"step", "kl", "agreement", "perplexity"}
    assert lines[-1]["kl"] < 0.5 * lines[0]["kl"]


def test_every_sixth_seed_is_held_out(fitted: FittedCodec) -> None:
    assert fitted.report.unseen is not None
    assert fitted.report.unseen.rows == SEEDS // 6 * SAMPLES
    assert fitted.report.seen.rows == SEEDS * SAMPLES - fitted.report.unseen.rows


def test_the_report_measures_what_the_artifact_decodes(fitted: FittedCodec) -> None:
    unseen = teacher_logits()[5::6].reshape(-1, NUM_CLASSES)
    rows = fitted.encoder.encode(unseen)
    decoded = load_decoder(fitted.artifact, "cpu")(rows)
    teacher = torch.log_softmax(torch.from_numpy(unseen).float(), dim=1)
    kl = (teacher.exp() * (teacher - torch.log_softmax(decoded, dim=1))).sum(dim=1).mean()
    assert fitted.report.unseen is not None
    assert float(kl) == pytest.approx(fitted.report.unseen.kl_nats, rel=1e-3)


def test_the_report_is_canonical_json_and_counts_bytes(fitted: FittedCodec) -> None:
    content = (fitted.out / REPORT_FILE).read_bytes()
    report = read_report(fitted.out / REPORT_FILE)
    assert report == fitted.report
    assert report.to_json() == content
    assert (
        content == json.dumps(json.loads(content), sort_keys=True, separators=(",", ":")).encode()
    )
    size = len(fitted.artifact)
    assert report.codec_bytes == size == (fitted.out / CODEC_FILE).stat().st_size
    figures = report.bytes_a_label
    assert figures.payload == fitted.codec.row_stride == 2
    assert figures.total_here == pytest.approx(2 + size / (SEEDS * SAMPLES))
    assert figures.total_at[1_000_000] == pytest.approx(2 + size / 1e6)
    assert set(figures.total_at) == {10**6, 10**7, 10**8}
    assert figures.dense_fp16 == 2 * NUM_CLASSES


def test_what_was_written_encodes_alike_later(fitted: FittedCodec) -> None:
    labels = teacher_logits()[0]
    again = load_fitted(fitted.out, device="cpu")
    np.testing.assert_array_equal(again.encoder.encode(labels), fitted.encoder.encode(labels))
    assert again.report == fitted.report
    assert type(read_artifact(again.artifact)) is type(fitted.codec)


def test_a_finished_fit_is_returned_as_it_is(tmp_path: Path) -> None:
    path = write_labels(tmp_path)
    fit_file(path, tmp_path, steps=2)
    before = (tmp_path / REPORT_FILE).stat().st_mtime_ns
    fit_file(path, tmp_path, steps=2)
    assert (tmp_path / REPORT_FILE).stat().st_mtime_ns == before


def test_a_finished_fit_of_other_settings_is_kept(tmp_path: Path) -> None:
    path, names = write_labels(tmp_path), (CODEC_FILE, ENCODER_FILE, REPORT_FILE)
    fit_file(path, tmp_path, steps=2)
    before = [(tmp_path / name).read_bytes() for name in names]
    with pytest.raises(InvalidRequestError, match=r"--out, .*--fresh .*resume=False"):
        fit_file(path, tmp_path, steps=3)
    assert [(tmp_path / name).read_bytes() for name in names] == before
    assert fit_file(path, tmp_path, steps=3, resume=False).report.config.steps == 3


@pytest.mark.parametrize("damaged", [CODEC_FILE, ENCODER_FILE, REPORT_FILE])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_damaged_fit_is_an_error_that_names_the_way_out(
    tmp_path: Path, damaged: str, content: bytes | None
) -> None:
    path = write_labels(tmp_path)
    fit_file(path, tmp_path, steps=2)
    (tmp_path / damaged).unlink()
    if content is not None:
        (tmp_path / damaged).write_bytes(content)
    elif damaged == REPORT_FILE:
        # Without it nothing is finished.
        fit_file(path, tmp_path, steps=2)
        return
    with pytest.raises((CodecFormatError, DigestMismatchError), match=r"--fresh .*resume=False"):
        fit_file(path, tmp_path, steps=2)
    fit_file(path, tmp_path, steps=2, resume=False)
    load_fitted(tmp_path, device="cpu")


def test_a_fresh_fit_that_stops_leaves_nothing_of_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_labels(tmp_path)
    fit_file(path, tmp_path, steps=2)
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"of an unfinished one")

    def stop(self: Loop, batch: object, about: object) -> dict[str, float]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_fit_batch", stop)
        with pytest.raises(KeyboardInterrupt):
            fit_file(path, tmp_path, steps=3, resume=False)
    assert {file.name for file in tmp_path.iterdir()} == {path.name, LOG_FILE}
    assert fit_file(path, tmp_path, steps=3).report.config.steps == 3


@pytest.mark.parametrize("row", [1, 100, SEEDS * SAMPLES - 1])
def test_labels_that_changed_are_another_fit(tmp_path: Path, row: int) -> None:
    labels = teacher_logits().reshape(-1, NUM_CLASSES)
    before = fit_file(write_labels(tmp_path, labels), tmp_path, steps=2).report
    labels[row, 0] += 1
    path = write_labels(tmp_path, labels)
    with pytest.raises(InvalidRequestError, match="other settings or labels"):
        fit_file(path, tmp_path, steps=2)
    after = fit_file(path, tmp_path, steps=2, resume=False).report
    assert after.labels_digest != before.labels_digest


def test_probabilities_fit_like_their_logits(tmp_path: Path) -> None:
    logits = torch.from_numpy(teacher_logits()).float()
    path = write_labels(tmp_path, torch.softmax(logits, dim=2).numpy())
    report = fit_file(path, tmp_path, kind=LabelKind.PROBABILITIES).report
    assert report.unseen is not None
    assert report.unseen.kl_nats < 0.35 * kl_of_the_mean_label()


def test_labels_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    logits = torch.from_numpy(teacher_logits()).float()
    probabilities = write_labels(tmp_path, torch.softmax(logits, dim=2).numpy())
    with pytest.raises(LabelValueError, match="probabilities"):
        fit_file(probabilities, tmp_path)
    with pytest.raises(LabelValueError, match="logits"):
        fit_file(write_labels(tmp_path), tmp_path, kind=LabelKind.PROBABILITIES)


def test_a_decoder_for_a_temperature_gives_the_teacher_at_that_temperature(tmp_path: Path) -> None:
    fitted = fit_file(write_labels(tmp_path), tmp_path, temperature=4.0)
    unseen = teacher_logits()[5::6].reshape(-1, NUM_CLASSES)
    decoded = load_decoder(fitted.artifact, "cpu")(fitted.encoder.encode(unseen))
    teacher = torch.log_softmax(torch.from_numpy(unseen).float() / 4, dim=1)
    kl = (teacher.exp() * (teacher - torch.log_softmax(decoded / 4, dim=1))).sum(dim=1).mean()
    assert fitted.report.unseen is not None
    assert float(kl) == pytest.approx(fitted.report.unseen.kl_nats, rel=1e-3)
    assert float(kl) < 0.35 * kl_of_the_mean_label(4.0)
    ends = fitted.codec.header.temperatures
    assert ends is not None
    assert all(temperature in ends for temperature in (2.7, 4.0, 5.9))
    assert not any(temperature in ends for temperature in (1.0, 2.6, 6.1))


@pytest.mark.parametrize("place", [(0, 0, 0), (11, 39, 11)])
def test_nan_is_refused_wherever_it_is_read(tmp_path: Path, place: tuple[int, ...]) -> None:
    labels = teacher_logits()
    labels[place] = np.nan
    row = place[0] * SAMPLES + place[1]
    with pytest.raises(LabelValueError, match=f"row {row} "):
        fit_file(write_labels(tmp_path, labels), tmp_path)


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((12, 10, 5)),
        np.full((12, 10, 5), -3.0),
        np.tile(np.arange(5.0), (12, 10, 1)),
        np.random.default_rng(0).normal(0, 3, (120, 1)),
        np.random.default_rng(0).normal(0, 3, (120, 2)),
        np.random.default_rng(0).normal(0, 3, (7, 5)),
        np.random.default_rng(0).normal(0, 3, (1, 5)),
    ],
    ids=["zeros", "constant", "equal rows", "one class", "two classes", "few rows", "one row"],
)
def test_odd_labels_fit(tmp_path: Path, labels: Any) -> None:
    path = write_labels(tmp_path, labels.astype(np.float32))
    fitted = fit_file(path, tmp_path, steps=200)
    assert np.isfinite(fitted.report.seen.kl_nats)
    rows = fitted.encoder.encode(labels.reshape(-1, labels.shape[-1]).astype(np.float32))
    assert np.isfinite(fitted.codec.decode(rows)).all()
    assert fitted.report.seen.kl_nats < 0.1


def test_nothing_held_out_is_said_so(tmp_path: Path) -> None:
    report = fit_file(write_labels(tmp_path), tmp_path, steps=2, holdout_every=0).report
    assert report.unseen is None
    assert report.seen.rows == SEEDS * SAMPLES


def test_a_diverging_fit_is_an_error(tmp_path: Path) -> None:
    labels = (teacher_logits().astype(np.float32) * 1e37).clip(-3e38, 3e38)
    with pytest.raises((InvalidRequestError, LabelValueError)):
        fit_file(write_labels(tmp_path, labels), tmp_path, learning_rate=1.0, temperature=1e-3)


def test_files_of_different_fits_are_told_apart(tmp_path: Path) -> None:
    path = write_labels(tmp_path)
    fit_file(path, tmp_path / "a", steps=2)
    fit_file(path, tmp_path / "b", steps=2, seed=1)
    (tmp_path / "a" / ENCODER_FILE).write_bytes((tmp_path / "b" / ENCODER_FILE).read_bytes())
    with pytest.raises(DigestMismatchError):
        load_fitted(tmp_path / "a", device="cpu")
    (tmp_path / "a" / CODEC_FILE).write_bytes((tmp_path / "b" / CODEC_FILE).read_bytes())
    with pytest.raises(DigestMismatchError):
        load_fitted(tmp_path / "a", device="cpu")
    with pytest.raises(CodecFormatError):
        load_fitted(tmp_path / "c", device="cpu")
    (tmp_path / "b" / ENCODER_FILE).write_bytes(b"{}")
    with pytest.raises(CodecFormatError):
        load_fitted(tmp_path / "b", device="cpu")


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({METADATA_KEY: '{"format": 2}'}, "format: Input should be 1"),
        ({METADATA_KEY: "{"}, "Invalid JSON"),
        ({"other": "{}"}, f"it has no metadata {METADATA_KEY}"),
    ],
)
def test_what_is_wrong_with_an_encoder_is_said(
    tmp_path: Path, metadata: dict[str, str], says: str
) -> None:
    path = tmp_path / ENCODER_FILE
    path.write_bytes(safetensors.torch.save({}, metadata))
    with pytest.raises(CodecFormatError) as caught:
        load_encoder(path, b"", torch.device("cpu"))
    assert f"{path} is no labelcast encoder: {says}" in caught.value.message


def test_a_missing_device_is_named(tmp_path: Path) -> None:
    from labelcast_producers.dense.files import open_label_file
    from labelcast_producers.fitting import fit
    from tests.factories.fitted import small_config

    labels = open_label_file(write_labels(tmp_path))
    with pytest.raises(InvalidRequestError, match="toaster"):
        fit(labels, small_config(), out=tmp_path, label_kind=LabelKind.LOGITS, device="toaster")
