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
from labelcast_producers.fitting import FitConfig, FittedCodec, fit
from labelcast_producers.fitting.config import CLASS_WIDTH
from labelcast_producers.fitting.context_choice import CHOICE_FILE, planned_steps
from labelcast_producers.fitting.fit import CHECKPOINT_FILE, LOG_FILE
from labelcast_producers.fitting.report import read_report
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
STEPS, TRIAL_STEPS = 100, 150


def worthless(directory: Path) -> Path:
    """Labels with the hard labels of other samples: what goes with them can be learnt by heart."""
    write_mixed(directory)
    tables = safetensors.numpy.load_file(directory / TABLES_NAME)
    tables["hard_labels"] = np.random.default_rng(5).permutation(tables["hard_labels"])
    safetensors.numpy.save_file(tables, directory / TABLES_NAME)
    return directory


def fit_openly(dense: Path, out: Path, **changes: Any) -> FittedCodec:
    settings: dict[str, Any] = {"class_width": None, "trial_steps": TRIAL_STEPS, "steps": STEPS}
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
    assert {tried.steps for tried in report.context_choice.tried} == {TRIAL_STEPS}
    assert report.seconds > report.context_choice.seconds > 0
    assert read_report(fitted.out / REPORT_FILE) == report
    assert {path.name for path in fitted.out.iterdir()} == FILES


def test_context_that_only_helps_to_learn_by_heart_is_left_out(tmp_path: Path) -> None:
    dense = worthless(tmp_path / "dense")
    chosen = fit_openly(dense, tmp_path / "chosen")
    assert chosen.report.config.class_width == 0
    assert chosen.codec.context_stride == 0
    # Nothing of the trials is left in what is fitted then.
    fit_openly(dense, tmp_path / "told", class_width=0)
    for name in (CODEC_FILE, ENCODER_FILE, LOG_FILE):
        assert (tmp_path / "chosen" / name).read_bytes() == (tmp_path / "told" / name).read_bytes()


def test_rows_that_decide_are_neither_fitted_by_trials_nor_reported(fitted: FittedCodec) -> None:
    report = fitted.report
    assert report.context_choice is not None
    assert report.unseen is not None
    held_out = SEEDS // 6
    assert report.unseen.rows == held_out * SAMPLES
    assert {tried.rows for tried in report.context_choice.tried} == {
        (SEEDS - held_out) // 6 * SAMPLES
    }


def test_a_finished_fit_is_known_by_what_was_asked_for(dense: Path, fitted: FittedCodec) -> None:
    before = (fitted.out / REPORT_FILE).stat().st_mtime_ns
    assert fit_openly(dense, fitted.out).report == fitted.report
    assert (fitted.out / REPORT_FILE).stat().st_mtime_ns == before
    with pytest.raises(InvalidRequestError, match="other settings or labels"):
        fit_openly(dense, fitted.out, class_width=CLASS_WIDTH)


def test_a_trial_that_was_stopped_goes_on(tmp_path: Path, dense: Path, fitted: FittedCodec) -> None:
    out, stopped_in = tmp_path / "out", f"trial-{CLASS_WIDTH}.safetensors"
    interrupting = signalled_once_saved(out / stopped_in, signal.SIGINT)
    with interrupting, pytest.raises(KeyboardInterrupt):
        fit_openly(dense, out, checkpoint_seconds=0.05)
    assert (out / stopped_in).exists()
    assert not (out / CHECKPOINT_FILE).exists()
    # What the trial before has shown is kept.
    assert (out / CHOICE_FILE).exists()
    again = fit_openly(dense, out)
    assert again.artifact == fitted.artifact
    for name in (CODEC_FILE, ENCODER_FILE, LOG_FILE):
        assert (out / name).read_bytes() == (fitted.out / name).read_bytes()
    assert {path.name for path in out.iterdir()} == FILES


def test_trials_of_another_fit_are_not_taken_up(tmp_path: Path, dense: Path) -> None:
    out = tmp_path / "out"
    interrupting = signalled_once_saved(out / CHECKPOINT_FILE, signal.SIGINT)
    with interrupting, pytest.raises(KeyboardInterrupt):
        fit_openly(dense, out, steps=20, checkpoint_seconds=0)
    assert (out / CHOICE_FILE).exists()
    fit_openly(dense, out, steps=4, resume=False)
    assert {path.name for path in out.iterdir()} == FILES


def test_progress_counts_trials(tmp_path: Path, dense: Path) -> None:
    rows, kind, context = open_for_fitting(dense, LabelKind.LOGITS)
    config = small_config(class_width=None, trial_steps=3, steps=3)
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
    assert planned_steps(config, context) == 9
    assert {total for _, total in seen} == {9}
    done = [done for done, _ in seen]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 9)


@pytest.mark.parametrize(
    ("known", "changes", "width"),
    [
        (True, {"codes": 0}, CLASS_WIDTH),
        (True, {"trial_steps": 0}, CLASS_WIDTH),
        (True, {"trial_steps": None}, CLASS_WIDTH),
        (True, {"class_width": 3}, 3),
        (True, {"class_width": 0}, 0),
        (False, {}, 0),
    ],
)
def test_where_nothing_is_open_nothing_is_tried(
    tmp_path: Path, dense: Path, known: bool, changes: dict[str, int | None], width: int
) -> None:
    path = dense if known else dense / "labels.npy"
    report = fit_openly(path, tmp_path, **{"steps": 2, **changes}).report
    assert report.context_choice is None
    assert report.config.class_width == width


def test_trials_take_a_fifth_of_the_steps_but_not_too_few(dense: Path) -> None:
    _, _, context = open_for_fitting(dense, None)
    for steps, trial in ((999, 0), (1000, 500), (5000, 1000)):
        assert planned_steps(FitConfig(steps=steps), context) == steps + 2 * trial
        assert planned_steps(FitConfig(steps=steps), None) == steps
