"""Several processes at one fit, as torchrun starts them, on one thread each."""

import json
import signal
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError, LabelcastError
from labelcast_producers.dense.files import open_label_file
from labelcast_producers.dense.labels import open_for_fitting
from labelcast_producers.fitting import FitReport, fit
from labelcast_producers.fitting.config import CLASS_WIDTH
from labelcast_producers.fitting.fit import CHECKPOINT_FILE, LOG_FILE
from labelcast_producers.fitting.parallel import ALONE, Workers, joined_workers
from labelcast_producers.fitting.report import read_report
from labelcast_producers.fitting.sampling import spaced
from labelcast_producers.fitting.steps import Loop
from labelcast_producers.neural.fitted_files import CODEC_FILE, ENCODER_FILE, REPORT_FILE
from tests.factories.fitted import (
    NUM_CLASSES,
    fit_file,
    small_config,
    teacher_logits,
    write_labels,
    write_mixed,
)
from tests.factories.torchrun import torchrun
from tests.factories.warm_process import WarmProcess

STEPS = 80
# Divisible by no number of workers: shares differ in size.
BATCH_ROWS = 63
OPEN: dict[str, Any] = {"class_width": None, "try_context": True}
FILES = {CODEC_FILE, ENCODER_FILE, LOG_FILE, REPORT_FILE}


def fit_in_parallel(
    labels: Path, out: Path, *, seconds_a_step: float = 0
) -> AbstractContextManager[WarmProcess]:
    return torchrun(work, labels, out, seconds_a_step)


def run_to_the_end(labels: Path, out: Path) -> tuple[int, str, str]:
    with fit_in_parallel(labels, out) as process:
        stdout, stderr = process.output(100)
        return process.wait(0), stdout, stderr


def wait_for_checkpoint(process: WarmProcess, checkpoint: Path, *, after: int = 0) -> None:
    """Until a fit has replaced the checkpoint that was written `after`."""
    process.wait_until(lambda: checkpoint.exists() and checkpoint.stat().st_mtime_ns > after)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labels(tmp_path_factory.mktemp("labels"))


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory, labels: Path) -> Path:
    out = tmp_path_factory.mktemp("two") / "out"
    status, stdout, stderr = run_to_the_end(labels, out)
    assert status == 0, stderr
    assert stdout == "rank 0 of 2\n"
    return out


def unseen_kl(report: FitReport) -> float:
    assert report.unseen is not None
    return report.unseen.kl_nats


def first_kl(out: Path) -> float:
    line = json.loads((out / LOG_FILE).read_text().splitlines()[0])
    assert line["step"] == 0
    return float(line["kl"])


@pytest.mark.slow
def test_two_workers_fit_what_one_fits(tmp_path: Path, labels: Path, by_two: Path) -> None:
    assert {path.name for path in by_two.iterdir()} == FILES
    fit_file(labels, tmp_path, steps=STEPS, batch_rows=BATCH_ROWS, **OPEN)
    # Until rounding errors have grown, the same numbers.
    assert first_kl(by_two) == pytest.approx(first_kl(tmp_path), rel=1e-3)
    one, two = (read_report(out / REPORT_FILE) for out in (tmp_path, by_two))
    assert two.config == one.config
    assert two.labels_digest == one.labels_digest
    assert unseen_kl(two) == pytest.approx(unseen_kl(one), rel=0.05)


@pytest.mark.slow
def test_two_workers_fit_with_context_what_one_fits(tmp_path: Path) -> None:
    labels = write_mixed(tmp_path / "dense")
    status, _, stderr = run_to_the_end(labels, tmp_path / "two")
    assert status == 0, stderr
    fit_file(labels, tmp_path / "one", steps=STEPS, batch_rows=BATCH_ROWS, **OPEN)
    assert first_kl(tmp_path / "two") == pytest.approx(first_kl(tmp_path / "one"), rel=1e-3)
    one, two = (read_report(tmp_path / name / REPORT_FILE) for name in ("one", "two"))
    assert two.config == one.config
    # Both workers went on with what the first has measured, or they would wait for each other.
    assert two.context_choice is not None
    assert two.config.class_width == two.context_choice.class_width == CLASS_WIDTH
    assert two.labels_digest == one.labels_digest
    assert unseen_kl(two) == pytest.approx(unseen_kl(one), rel=0.1)


@pytest.mark.slow
def test_killed_and_interrupted_workers_go_on_bit_for_bit(
    tmp_path: Path, labels: Path, by_two: Path
) -> None:
    checkpoint = tmp_path / CHECKPOINT_FILE
    # Slow enough that the fit is not over before anybody has looked for its checkpoint.
    with fit_in_parallel(labels, tmp_path, seconds_a_step=0.25) as process:
        wait_for_checkpoint(process, checkpoint)
        for worker in psutil.Process(process.pid).children():
            worker.kill()
        assert process.wait(60) != 0
    saved = checkpoint.stat().st_mtime_ns
    with fit_in_parallel(labels, tmp_path, seconds_a_step=0.25) as process:
        wait_for_checkpoint(process, checkpoint, after=saved)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    assert checkpoint.exists()
    assert not (tmp_path / CODEC_FILE).exists()
    status, _, stderr = run_to_the_end(labels, tmp_path)
    assert status == 0, stderr
    assert {path.name for path in tmp_path.iterdir()} == FILES
    for name in (CODEC_FILE, ENCODER_FILE, LOG_FILE):
        assert (tmp_path / name).read_bytes() == (by_two / name).read_bytes(), name


@pytest.mark.slow
def test_an_error_of_one_worker_ends_all(tmp_path: Path) -> None:
    values = np.tile(teacher_logits().reshape(-1, NUM_CLASSES), (20, 1))
    # A row that only the one who fits it reads: none of those that tell labels apart.
    row = np.setdiff1d(np.arange(len(values)), spaced(len(values), 4096))[0]
    values[row, 0] = np.nan
    status, stdout, _ = run_to_the_end(write_labels(tmp_path, values), tmp_path / "out")
    assert status != 0
    assert stdout.count(f"row {row} holds NaN") == 1
    assert stdout.count("another worker has gone") == 1


@pytest.mark.slow
def test_a_finished_fit_of_other_settings_is_refused_by_all_workers(
    tmp_path: Path, labels: Path
) -> None:
    fit_file(labels, tmp_path, steps=2)
    before = (tmp_path / REPORT_FILE).read_bytes()
    status, stdout, _ = run_to_the_end(labels, tmp_path)
    assert status != 0
    assert stdout.count("holds a finished fit of other settings or labels") >= 1
    assert "another worker has gone" not in stdout
    assert (tmp_path / REPORT_FILE).read_bytes() == before


def test_more_workers_than_rows_are_refused(tmp_path: Path, labels: Path) -> None:
    with pytest.raises(InvalidRequestError, match="3 workers cannot share a batch of 2 rows"):
        fit(
            open_label_file(labels),
            small_config(batch_rows=2),
            out=tmp_path,
            label_kind=LabelKind.LOGITS,
            workers=Workers(rank=1, size=3),
        )


@pytest.mark.parametrize(("count", "size"), [(2, 2), (63, 2), (64, 3), (7, 7)])
def test_shares_make_up_the_batch(count: int, size: int) -> None:
    rows = np.arange(100, 100 + count)
    workers = [Workers(rank, size) for rank in range(size)]
    shares = [worker.share(rows) for worker in workers]
    assert min(map(len, shares)) >= 1
    np.testing.assert_array_equal(np.concatenate(shares), rows)
    placed = [
        worker.placed(torch.from_numpy(share)[:, None], count)
        for worker, share in zip(workers, shares, strict=True)
    ]
    np.testing.assert_array_equal(torch.stack(placed).sum(dim=0)[:, 0], rows)


def test_one_worker_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_workers() as workers:
        assert workers is ALONE
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(InvalidRequestError, match="torchrun"), joined_workers():
        pass


def work(labels: Path, out: Path, seconds_a_step: float) -> None:
    """What each of the processes does."""
    fit_batch = Loop._fit_batch

    def step(loop: Loop, *batch: Any) -> dict[str, float]:
        time.sleep(seconds_a_step)
        return fit_batch(loop, *batch)

    with pytest.MonkeyPatch.context() as patch, joined_workers() as workers:
        patch.setattr(Loop, "_fit_batch", step)
        rows, kind, context = open_for_fitting(labels, LabelKind.LOGITS)
        try:
            fit(
                rows,
                small_config(steps=STEPS, batch_rows=BATCH_ROWS, **OPEN),
                out=out,
                label_kind=kind,
                context=context,
                device="cpu",
                checkpoint_seconds=0.05,
                workers=workers,
            )
        except LabelcastError as error:
            print(error.message, flush=True)
            sys.exit(1)
        if workers.is_first:
            print(f"rank {workers.rank} of {workers.size}")
