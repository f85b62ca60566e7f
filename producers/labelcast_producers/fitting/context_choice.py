"""Whether codes are conditioned on context: both are tried, briefly, on a part of the fitted rows.

Context is worth much where a fit has seen every pair of classes often, and harms where it has not:
it then learns by heart which label goes with which view. What decides is the KL on rows that the
trials leave out, which are not those that the fit reports; the fit itself begins anew, on all rows.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from labelcast.files import write_whole
from labelcast.progress import Progress
from labelcast_producers.dense.row_context import RowContext
from labelcast_producers.fitting.config import CLASS_WIDTH, FitConfig
from labelcast_producers.fitting.metrics import measure
from labelcast_producers.fitting.sampling import TrialSplit, spaced
from labelcast_producers.fitting.steps import Loop

CHOICE_FILE = "context-choice.json"

_TRIED_WIDTHS = (0, CLASS_WIDTH)
_COMPARED_ROWS = 2048


class Tried(BaseModel):
    """One trial.

    Attributes:
        class_width: values per class embedding; 0 without context.
        steps: number of its steps.
        rows: rows that it was measured on.
        kl_nats: KL(teacher ‖ decoded) on these.
        seconds: wall time of the steps, over all resumptions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_width: int
    steps: int
    rows: int
    kl_nats: float
    seconds: float


class ContextChoice(BaseModel):
    """The trials that decided on context.

    Attributes:
        tried: the trials, each of another `class_width`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tried: tuple[Tried, ...]

    @property
    def class_width(self) -> int:
        """Of the trial with the lowest KL; of equals, of that with the smaller codec."""
        return min(self.tried, key=lambda tried: (tried.kl_nats, tried.class_width)).class_width

    @property
    def seconds(self) -> float:
        """Wall time of all trials."""
        return sum(tried.seconds for tried in self.tried)


class _Kept(BaseModel):
    """Finished trials on disk, and the fit that they were made for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: FitConfig
    labels_digest: str
    tried: tuple[Tried, ...]


def is_open(config: FitConfig, context: RowContext | None) -> bool:
    """Whether neither settings nor labels decide on context."""
    can_be_tried = config.codes > 0 and config.chosen_trial_steps > 0
    return config.class_width is None and context is not None and can_be_tried


def planned_steps(config: FitConfig, context: RowContext | None) -> int:
    """Steps of a fit and, if it needs any, of its trials."""
    trials = len(_TRIED_WIDTHS) if is_open(config, context) else 0
    return config.steps + trials * config.chosen_trial_steps


def choose_context(
    make: Callable[..., Loop],
    config: FitConfig,
    context: RowContext | None,
    split: TrialSplit,
    *,
    out: Path,
    progress: Progress,
    resume: bool,
) -> ContextChoice:
    """Try a fit with context and one without.

    Args:
        make: makes a `Loop` from what differs between trials.
        config: settings of the fit; `class_width` is None.
        context: context of the rows.
        split: which rows are fitted and compared on.
        out: directory of the fit; trials leave files there until `discard_trials`.
        progress: called after steps, of `planned_steps`.
        resume: go on from what an interrupted fit has left; otherwise start over.

    Returns:
        The same on every worker.

    Raises:
        As `Loop.run`.
    """
    steps, total = config.chosen_trial_steps, planned_steps(config, context)
    tried: tuple[Tried, ...] = ()
    for number, width in enumerate(_TRIED_WIDTHS):
        checkpoint, log = _files(out, width)
        loop = make(
            config=config.with_class_width(width, steps=steps),
            context=context if width else None,
            split=split,
            checkpoint=checkpoint,
            log=log,
            progress=_part(progress, number * steps, total),
        )
        workers, digest = loop.workers, loop.labels_digest
        kept = _read(out / CHOICE_FILE, config, digest) if resume else ()
        # The first worker looks for all.
        if workers.any(workers.is_first and len(kept) > number):
            tried = kept[: number + 1]
            continue
        loop.run(resume=resume)
        tried = (*tried, _measured(loop, split))
        if workers.is_first:
            content = _Kept(config=config, labels_digest=digest, tried=tried)
            write_whole(out / CHOICE_FILE, content.model_dump_json().encode())
            checkpoint.unlink(missing_ok=True)
    return ContextChoice(tried=tried)


def discard_trials(out: Path) -> None:
    """Remove what trials have left."""
    for path in (
        out / CHOICE_FILE,
        *(path for width in _TRIED_WIDTHS for path in _files(out, width)),
    ):
        path.unlink(missing_ok=True)


def _measured(loop: Loop, split: TrialSplit) -> Tried:
    rows = split.compared(spaced(split.compared_rows, _COMPARED_ROWS))
    kl = torch.zeros(1, dtype=torch.float64, device=loop.device)
    if loop.workers.is_first:
        encoder = loop.finished_encoder()
        kl[0] = measure(encoder, loop.labels, loop.context, rows).kl_nats
    loop.workers.broadcast_([kl])
    return Tried(
        class_width=loop.config.class_width or 0,
        steps=loop.config.steps,
        rows=len(rows),
        kl_nats=kl.item(),
        seconds=round(loop.seconds, 3),
    )


def _files(out: Path, width: int) -> tuple[Path, Path]:
    """Checkpoint and log of a trial."""
    return out / f"trial-{width}.safetensors", out / f"trial-{width}.jsonl"


def _part(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)


def _read(path: Path, config: FitConfig, labels_digest: str) -> tuple[Tried, ...]:
    """Finished trials of this very fit; none if there is no such file."""
    try:
        kept = _Kept.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return ()
    return kept.tried if (kept.config, kept.labels_digest) == (config, labels_digest) else ()
