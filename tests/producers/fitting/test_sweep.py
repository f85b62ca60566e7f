import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError, LabelValueError
from labelcast_producers.dense.files import open_label_file
from labelcast_producers.fitting import FitConfig, load_fitted
from labelcast_producers.fitting.rate_distortion import draw
from labelcast_producers.fitting.sweep import PLOT_FILE, SWEEP_FILE, Sweep, sweep
from labelcast_producers.neural.fitted_files import REPORT_FILE
from tests.factories.fitted import NUM_CLASSES, SAMPLES, SEEDS, small_config, write_labels

PNG = b"\x89PNG\r\n\x1a\n"


def sweep_of(path: Path, out: Path, *targets: float, **options: Any) -> Sweep:
    """Small fits on one CPU thread."""
    settings = small_config().model_dump(exclude={"codes", "codebook_size", "codeword_width"})
    settings |= {"steps": 60} | options.pop("settings", {})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return sweep(
            open_label_file(path),
            targets,
            settings,
            out=out,
            label_kind=LabelKind.LOGITS,
            device="cpu",
            **options,
        )
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Path]:
    directory = tmp_path_factory.mktemp("sweep")
    settings = {"steps": 200}
    return sweep_of(
        write_labels(directory), directory / "out", 1, 2, 4, settings=settings
    ), directory / "out"


def test_more_bytes_keep_more(swept: tuple[Sweep, Path]) -> None:
    curve, _ = swept
    assert [point.payload for point in curve.points] == [1, 2, 4]
    kl = [point.quality.kl_nats for point in curve.points]
    assert kl[0] > kl[1] > kl[2]
    assert kl[0] < curve.teacher_entropy_nats
    assert curve.measured_on == "unseen rows"


def test_points_are_the_reports_of_their_fits(swept: tuple[Sweep, Path]) -> None:
    curve, out = swept
    for point in curve.points:
        fitted = load_fitted(out / point.directory, device="cpu")
        report = fitted.report
        assert (report.codec_digest, report.codec_bytes, report.seconds) == (
            point.codec_digest,
            point.codec_bytes,
            point.seconds,
        )
        assert fitted.codec.row_stride == point.target_bytes == point.payload
        assert point.total_at == report.bytes_a_label.total_at
        assert report.unseen is not None
        assert point.unseen is not None
        assert point.unseen.top5_agreement == report.unseen.top5_agreement
        assert point.seen.kl_nats == report.seen.kl_nats
        assert point.seen.mean_perplexity == pytest.approx(np.mean(report.seen.perplexities))
    assert (curve.num_rows, curve.num_classes) == (SEEDS * SAMPLES, NUM_CLASSES)
    assert curve.dense_fp16 == 2 * NUM_CLASSES


def test_the_file_is_the_curve(swept: tuple[Sweep, Path]) -> None:
    curve, out = swept
    content = (out / SWEEP_FILE).read_bytes()
    assert Sweep.model_validate_json(content) == curve
    assert content == curve.to_json()
    assert set(json.loads(content)["points"][0]["total_at"]) == {"1000000", "10000000", "100000000"}


def test_finished_fits_are_kept_and_missing_ones_added(tmp_path: Path) -> None:
    path, begun = write_labels(tmp_path), list[FitConfig]()
    settings = {"steps": 4}
    first = sweep_of(path, tmp_path, 1, settings=settings)
    before = (tmp_path / "1" / REPORT_FILE).stat().st_mtime_ns
    both = sweep_of(path, tmp_path, 1, 2, settings=settings, on_fit=begun.append)
    assert (tmp_path / "1" / REPORT_FILE).stat().st_mtime_ns == before
    assert both.points[0] == first.points[0]
    assert [config.vqae.row_stride for config in begun] == [1, 2]
    sweep_of(path, tmp_path, 1, settings=settings, resume=False)
    assert (tmp_path / "1" / REPORT_FILE).stat().st_mtime_ns > before


def test_nothing_is_fitted_before_all_targets_are_known_to_be_possible(tmp_path: Path) -> None:
    path, out = write_labels(tmp_path), tmp_path / "out"
    for targets in ((1, 2.5), (2, 1), ()):
        with pytest.raises(InvalidRequestError):
            sweep_of(path, out, *targets)
    with pytest.raises(InvalidRequestError, match="leave out codes"):
        sweep_of(path, out, 1, settings={"codes": 4})
    assert not out.exists()


def test_a_failing_fit_leaves_no_curve_of_former_ones(tmp_path: Path) -> None:
    settings = {"steps": 2}
    sweep_of(write_labels(tmp_path), tmp_path, 1, settings=settings)
    (tmp_path / PLOT_FILE).write_bytes(PNG)
    labels = np.full((12, 10, 5), np.nan, np.float32)
    with pytest.raises(LabelValueError, match="row 0"):
        sweep_of(write_labels(tmp_path, labels), tmp_path, 1, settings=settings, resume=False)
    assert not (tmp_path / SWEEP_FILE).exists()
    assert not (tmp_path / PLOT_FILE).exists()


def test_fits_of_other_settings_are_kept_with_their_curve(tmp_path: Path) -> None:
    path = write_labels(tmp_path)
    sweep_of(path, tmp_path, 2, settings={"steps": 2})
    before = (tmp_path / SWEEP_FILE).read_bytes()
    with pytest.raises(InvalidRequestError, match=r"/2 holds a finished fit .*--out, .*--fresh"):
        # The second is refused before the first is begun.
        sweep_of(path, tmp_path, 1, 2, settings={"steps": 3})
    assert (tmp_path / SWEEP_FILE).read_bytes() == before
    assert not (tmp_path / "1").exists()
    changed = sweep_of(path, tmp_path, 1, 2, settings={"steps": 3}, resume=False)
    assert (tmp_path / SWEEP_FILE).read_bytes() == changed.to_json() != before


def test_the_curve_is_drawn(swept: tuple[Sweep, Path], tmp_path: Path) -> None:
    draw(swept[0], tmp_path / PLOT_FILE)
    content = (tmp_path / PLOT_FILE).read_bytes()
    assert content.startswith(PNG)
    assert len(content) > 10_000


def test_one_point_without_loss_or_unseen_rows_is_drawn(
    swept: tuple[Sweep, Path], tmp_path: Path
) -> None:
    point = swept[0].points[0]
    without_loss = point.seen.model_copy(update={"kl_nats": 0.0})
    point = point.model_copy(update={"seen": without_loss, "unseen": None})
    curve = swept[0].model_copy(update={"points": (point,)})
    assert curve.measured_on == "fitted rows"
    draw(curve, tmp_path / PLOT_FILE)
    assert (tmp_path / PLOT_FILE).read_bytes().startswith(PNG)
