"""Whether a fit conditions on context is tried, not assumed."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError
from labelcast_producers.dense.labels import TABLES_NAME, open_for_fitting
from labelcast_producers.fitting import FitConfig, FittedCodec, fit, parse_fit_config
from labelcast_producers.fitting.config import CLASS_WIDTH
from labelcast_producers.fitting.context_choice import planned_steps
from labelcast_producers.fitting.fit import CHECKPOINT_FILE, LOG_FILE, split_of
from labelcast_producers.fitting.report import FitReport, read_report
from labelcast_producers.fitting.steps import Loop
from labelcast_producers.neural.fitted_files import CODEC_FILE, ENCODER_FILE, REPORT_FILE
from tests.factories.fitted import (
    SAMPLES,
    SEEDS,
    fit_file,
    signalled_once_saved,
    small_config,
    write_mixed,
)

FILES = {CODEC_FILE, ENCODER_FILE, LOG_FILE, REPORT_FILE}
STEPS = 150
OTHER_FIRST = "width-0.safetensors"


def worthless(directory: Path) -> Path:
    """Labels with the hard labels of other samples: what goes with them can be learnt by heart."""
    write_mixed(directory)
    tables = safetensors.numpy.load_file(directory / TABLES_NAME)
    tables["hard_labels"] = np.random.default_rng(5).permutation(tables["hard_labels"])
    safetensors.numpy.save_file(tables, directory / TABLES_NAME)
    return directory


def fit_openly(dense: Path, out: Path, **changes: Any) -> FittedCodec:
    settings: dict[str, Any] = {"class_width": None, "try_context": True, "steps": STEPS}
    return fit_file(dense, out, **(settings | changes))


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed(tmp_path_factory.mktemp("dense"))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, dense: Path) -> FittedCodec:
    return fit_openly(dense, tmp_path_factory.mktemp("fit"))


def test_context_that_tells_much_is_kept_and_the_report_says_why(fitted: FittedCodec) -> None:
    report = fitted.report
    assert report.config.class_width == CLASS_WIDTH
    assert fitted.codec.context_stride > 0
    assert report.context_choice is not None
    without, conditioned = report.context_choice.tried
    assert (without.class_width, conditioned.class_width) == (0, CLASS_WIDTH)
    assert conditioned.kl_nats < without.kl_nats
    assert {tried.steps for tried in report.context_choice.tried} == {STEPS}
    assert report.seconds == report.context_choice.seconds > 0
    assert read_report(fitted.out / REPORT_FILE) == report
    assert {path.name for path in fitted.out.iterdir()} == FILES


def test_context_that_only_helps_to_learn_by_heart_is_left_out(tmp_path: Path) -> None:
    dense = worthless(tmp_path / "dense")
    chosen = fit_openly(dense, tmp_path / "chosen")
    assert chosen.report.config.class_width == 0
    assert chosen.codec.context_stride == 0
    # Nothing of the other is left in the one that is kept.
    fit_openly(dense, tmp_path / "told", class_width=0)
    for name in (CODEC_FILE, ENCODER_FILE, LOG_FILE):
        assert (tmp_path / "chosen" / name).read_bytes() == (tmp_path / "told" / name).read_bytes()


def test_rows_that_decide_are_neither_fitted_nor_reported(fitted: FittedCodec) -> None:
    report = fitted.report
    assert report.context_choice is not None
    assert report.unseen is not None
    held_out = SEEDS // 6 * SAMPLES
    assert report.fitted_rows == SEEDS * SAMPLES - held_out
    assert {tried.rows for tried in report.context_choice.tried} == {held_out // 4}
    assert report.unseen.rows == held_out - held_out // 4


def test_a_finished_fit_is_known_by_what_was_asked_for(dense: Path, fitted: FittedCodec) -> None:
    before = (fitted.out / REPORT_FILE).stat().st_mtime_ns
    assert fit_openly(dense, fitted.out).report == fitted.report
    assert (fitted.out / REPORT_FILE).stat().st_mtime_ns == before
    with pytest.raises(InvalidRequestError, match="other settings or labels"):
        fit_openly(dense, fitted.out, class_width=CLASS_WIDTH)


def test_a_fit_that_was_stopped_goes_on_and_keeps_the_other(
    tmp_path: Path, dense: Path, fitted: FittedCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, stopped_in = tmp_path / "out", f"width-{CLASS_WIDTH}.safetensors"
    interrupting = signalled_once_saved(out / stopped_in, signal.SIGINT)
    with interrupting, pytest.raises(KeyboardInterrupt):
        fit_openly(dense, out, checkpoint_seconds=0.05)
    assert (out / stopped_in).exists()
    fit_batch, fitted_widths = Loop._fit_batch, set()

    def step(loop: Loop, *batch: Any) -> dict[str, float]:
        fitted_widths.add(loop.config.class_width)
        return fit_batch(loop, *batch)

    monkeypatch.setattr(Loop, "_fit_batch", step)
    again = fit_openly(dense, out)
    assert fitted_widths == {CLASS_WIDTH}
    assert again.artifact == fitted.artifact
    for name in (CODEC_FILE, ENCODER_FILE, LOG_FILE):
        assert (out / name).read_bytes() == (fitted.out / name).read_bytes()
    assert {path.name for path in out.iterdir()} == FILES


def test_what_another_fit_left_is_not_taken_up(tmp_path: Path, dense: Path) -> None:
    out = tmp_path / "out"
    interrupting = signalled_once_saved(out / OTHER_FIRST, signal.SIGINT)
    with interrupting, pytest.raises(KeyboardInterrupt):
        fit_openly(dense, out, steps=20, checkpoint_seconds=0)
    with pytest.raises(InvalidRequestError, match="--fresh"):
        fit_openly(dense, out, steps=4)
    fit_openly(dense, out, steps=4, resume=False)
    assert {path.name for path in out.iterdir()} == FILES


@pytest.mark.parametrize("decided", [False, True])
def test_an_unfinished_fit_of_the_other_kind_is_refused_and_kept(
    tmp_path: Path, dense: Path, *, decided: bool
) -> None:
    """Neither is found where the other looks for what it left."""
    out = tmp_path / "out"
    told: dict[str, Any] = {"class_width": 0}
    first, second = (told, {}) if decided else ({}, told)
    left = out / (CHECKPOINT_FILE if decided else OTHER_FIRST)
    interrupting = signalled_once_saved(left, signal.SIGINT)
    with interrupting, pytest.raises(KeyboardInterrupt):
        fit_openly(dense, out, steps=20, checkpoint_seconds=0, **first)
    before = left.read_bytes()
    with pytest.raises(InvalidRequestError, match=r"holds an unfinished fit that .*--fresh"):
        fit_openly(dense, out, steps=4, **second)
    assert left.read_bytes() == before
    fit_openly(dense, out, steps=4, resume=False, **second)
    assert {path.name for path in out.iterdir()} == FILES


def test_progress_counts_both(tmp_path: Path, dense: Path) -> None:
    rows, kind, context = open_for_fitting(dense, LabelKind.LOGITS)
    config = small_config(class_width=None, try_context=True, steps=3)
    seen: list[tuple[int, int]] = []
    fit(
        rows,
        config,
        out=tmp_path,
        label_kind=kind,
        context=context,
        device="cpu",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert planned_steps(config, context, split_of(rows, config)) == 6
    assert {total for _, total in seen} == {6}
    done = [done for done, _ in seen]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 6)


@pytest.mark.parametrize(
    ("known", "changes", "width"),
    [
        (True, {"codes": 0}, CLASS_WIDTH),
        (True, {"try_context": False}, CLASS_WIDTH),
        (True, {"try_context": None}, CLASS_WIDTH),
        (True, {"holdout_every": 0}, CLASS_WIDTH),
        (True, {"class_width": 3}, 3),
        (True, {"class_width": 0}, 0),
        (False, {}, 0),
    ],
)
def test_where_nothing_is_open_nothing_is_tried(
    tmp_path: Path, dense: Path, known: bool, changes: dict[str, int | bool | None], width: int
) -> None:
    path = dense if known else dense / "labels.npy"
    report = fit_openly(path, tmp_path, **{"steps": 2, **changes}).report
    assert report.context_choice is None
    assert report.config.class_width == width


def test_fits_that_are_not_short_try_both(dense: Path) -> None:
    rows, _, context = open_for_fitting(dense, None)
    for steps, fits in ((999, 1), (1000, 2), (5000, 2)):
        config = FitConfig(steps=steps)
        split = split_of(rows, config)
        assert planned_steps(config, context, split) == fits * steps
        assert planned_steps(config, None, split) == steps


def test_reports_of_earlier_versions_are_read(fitted: FittedCodec) -> None:
    report = read_report(fitted.out / REPORT_FILE).model_dump(mode="json")
    report["config"]["trial_steps"] = None
    assert FitReport.model_validate(report) == fitted.report
    with pytest.raises(InvalidRequestError, match="trial_steps"):
        parse_fit_config({"trial_steps": 500})
