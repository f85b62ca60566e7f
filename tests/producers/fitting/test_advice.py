"""Advice on fits: what causes each message, and that what it says works.

More rows a batch for several workers are tried in test_parallel.py, a label of --target-bytes in
test_target.py.
"""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from torch import Tensor

from labelcast.cli.app import app
from labelcast.codec import LabelKind
from labelcast_producers.dense.files import open_label_file
from labelcast_producers.fitting import fit
from labelcast_producers.fitting.checkpoint import METADATA_KEY
from labelcast_producers.fitting.config import FitConfig, parse_fit_config
from labelcast_producers.fitting.fit import CHECKPOINT_FILE
from labelcast_producers.fitting.parallel import ALONE, Workers, joined_workers
from labelcast_producers.fitting.target import parse_targets, target_config
from labelcast_producers.neural.fitted_files import REPORT_FILE
from tests.factories.advice import Case, try_advice
from tests.factories.fitted import (
    fit_file,
    signalled_once_saved,
    small_config,
    teacher_logits,
    write_labels,
    write_mixed,
)

STEPS = 6
START_OVER = "start over with --fresh (in Python: resume=False)"
SMALL = {"encoder_hidden": [8], "decoder_hidden": [8], "class_width": 2, "batch_rows": 32}


def fitted(at: Path, *, out: str = "out", **changes: Any) -> object:
    """A fit of a plain file into `at`/`out`."""
    return fit_file(write_labels(at), at / out, **{"steps": 1, **changes})


def fitted_by_command(at: Path, *words: str) -> object:
    (at / "config.json").write_text(json.dumps(SMALL))
    dense = write_mixed(at / "dense")
    files = ("--labels", str(dense), "--out", str(at / "out"), "--config", str(at / "config.json"))
    return app(["fit", *files, "--steps", "1", "--quiet", *words], standalone_mode=False)


def stopped(at: Path, change: Callable[[dict[str, Tensor]], object] = lambda _: None) -> Path:
    """A fit that was interrupted, and the weights of whose checkpoint are changed."""
    checkpoint = at / "out" / CHECKPOINT_FILE
    with signalled_once_saved(checkpoint, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        fit_file(write_labels(at), checkpoint.parent, steps=STEPS, checkpoint_seconds=0)
    tensors = safetensors.torch.load_file(checkpoint)
    with safetensors.safe_open(checkpoint, framework="pt") as file:
        metadata = file.metadata()
    change(tensors)
    safetensors.torch.save_file(tensors, checkpoint, metadata)
    return checkpoint


def diverged(at: Path) -> object:
    """Goes on with weights that have left what fp32 holds."""
    stopped(at, lambda tensors: tensors["model.decoder.0.weight"].fill_(float("inf")))
    return fitted(at, steps=STEPS)


def of_another_version(at: Path) -> object:
    checkpoint = stopped(at)
    safetensors.torch.save_file({}, checkpoint, {METADATA_KEY: '{"format": 9}'})
    return fitted(at, steps=STEPS)


def damaged_report(at: Path) -> object:
    fitted(at)
    (at / "out" / REPORT_FILE).write_bytes(b"{}")
    return fitted(at)


def with_huge_steps(at: Path, **changes: Any) -> object:
    """Through eight layers, steps this large soon leave half precision."""
    deep = {"encoder_hidden": (64,) * 8, "decoder_hidden": (64,) * 8, "warmup_steps": 0}
    return fitted(at, **{"steps": 5, "learning_rate": 1.0, **deep, **changes})


def at_a_high_temperature(at: Path, **changes: Any) -> object:
    labels = write_labels(at, teacher_logits().astype(np.float32) * 1e6)
    return fit_file(labels, at / "out", **{"steps": 1, "temperature": 1000.0, **changes})


def shared(at: Path, workers: Workers) -> object:
    """Two rows a batch, for workers to share."""
    return fit(
        open_label_file(write_labels(at)),
        small_config(batch_rows=2, steps=1),
        out=at / "out",
        label_kind=LabelKind.LOGITS,
        device="cpu",
        workers=workers,
    )


def configured(**settings: object) -> FitConfig:
    return parse_fit_config(settings)


def to_target(at: Path, **settings: object) -> FitConfig:
    return target_config(2, settings, open_label_file(write_labels(at)))


CASES: list[Case[Path]] = [
    Case(
        "give --codes, or fit a directory from `labelcast relabel` that has hard labels, with"
        " class_width above 0 and without --no-context (in Python: with its context)",
        lambda at: fitted(at, codes=0),
        lambda at: (
            fitted(at, codes=1),
            fit_file(write_mixed(at / "dense"), at / "by context", codes=0, steps=1),
        ),
    ),
    Case(
        "give --codes, or fit a directory from `labelcast relabel` that has hard labels, with"
        " class_width above 0 and without --no-context",
        lambda at: fitted_by_command(at, "--codes", "0", "--no-context"),
        lambda at: (
            fitted_by_command(at, "--codes", "1", "--no-context"),
            fitted_by_command(at, "--codes", "0", "--fresh"),
        ),
    ),
    Case(
        f"belongs to a fit with other settings or labels; use another directory, or {START_OVER}",
        lambda at: (stopped(at), fitted(at, steps=STEPS, seed=1)),
        lambda at: (fitted(at, seed=1, out="other"), fitted(at, seed=1, resume=False)),
    ),
    Case(
        f"is no checkpoint that this version reads; {START_OVER}",
        of_another_version,
        lambda at: fitted(at, steps=STEPS, resume=False),
    ),
    Case(
        "holds a finished fit of other settings or labels; use another directory for --out, or"
        f" {START_OVER}",
        lambda at: (fitted(at), fitted(at, seed=1)),
        lambda at: (fitted(at, seed=1, out="other"), fitted(at, seed=1, resume=False)),
    ),
    Case(START_OVER, damaged_report, lambda at: fitted(at, resume=False)),
    Case(
        f"lower learning_rate (now 0.01) and {START_OVER}",
        diverged,
        lambda at: fitted(at, steps=STEPS, learning_rate=1e-3, resume=False),
    ),
    Case(
        "set precision to fp32, or lower learning_rate or temperature",
        with_huge_steps,
        lambda at: (
            with_huge_steps(at, precision="fp32", out="fp32"),
            with_huge_steps(at, learning_rate=1e-3, out="lower"),
        ),
    ),
    Case(
        "set precision to fp32, or lower learning_rate or temperature",
        at_a_high_temperature,
        lambda at: (
            at_a_high_temperature(at, precision="fp32"),
            at_a_high_temperature(at, temperature=1.0, resume=False),
        ),
    ),
    Case(
        "use 2 or more, or 0",
        lambda _: configured(holdout_every=1),
        lambda at: [fitted(at, holdout_every=every, out=f"out {every}") for every in (2, 3, 0)],
    ),
    Case(
        "leave out codes and codebook_size, or the target",
        lambda at: to_target(at, codes=2, codebook_size=16),
        lambda at: (to_target(at), configured(codes=2, codebook_size=16)),
    ),
    Case(
        "3 workers cannot share a batch of 2 rows; raise batch_rows, or start fewer",
        lambda at: shared(at, Workers(rank=1, size=3)),
        lambda at: shared(at, ALONE),
    ),
    Case(
        "give bytes a label between commas, such as 2,4,8",
        lambda _: parse_targets("2,,8"),
        lambda _: parse_targets("2,4,8"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)


def joined() -> Workers:
    with joined_workers() as workers:
        return workers


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Sets what torchrun tells its processes, or unsets it."""

    def told(**values: str) -> None:
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return told


def test_half_of_what_torchrun_sets(tmp_path: Path, environment: Callable[..., object]) -> None:
    case = Case[Path](
        "start with torchrun, or unset it",
        lambda _: (environment(WORLD_SIZE="2"), joined()),
        lambda _: (
            environment(WORLD_SIZE="1", RANK="0", LOCAL_RANK="0"),
            joined(),
            environment(),
            joined(),
        ),
    )
    try_advice(case, tmp_path)


def test_a_sweep_under_torchrun(tmp_path: Path, environment: Callable[..., object]) -> None:
    case = Case[Path](
        "--sweep fits in one process: start it without torchrun",
        lambda at: (
            environment(WORLD_SIZE="2", RANK="1", LOCAL_RANK="1"),
            fitted_by_command(at, "--sweep", "1"),
        ),
        lambda at: (environment(), fitted_by_command(at, "--sweep", "1")),
    )
    try_advice(case, tmp_path)
