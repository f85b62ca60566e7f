"""Whether codes are conditioned on context: both are fitted, and the better fit is kept.

Context is worth much where a fit has seen every pair of classes often, and harms where it has not:
it then learns by heart which label goes with which view. Shorter trials do not tell: what has more
inputs may be behind for most of a fit and ahead at its end. What decides is the KL on held-out
rows, which are not those that the fit reports.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from labelcast.progress import Progress
from labelcast_producers.dense.row_context import RowContext
from labelcast_producers.fitting.config import CLASS_WIDTH, FitConfig
from labelcast_producers.fitting.metrics import measure
from labelcast_producers.fitting.sampling import RowNumbers, Split, spaced
from labelcast_producers.fitting.steps import Loop

_TRIED_WIDTHS = (0, CLASS_WIDTH)
_COMPARED_ROWS = 2048
# Of the held-out rows, one in so many is compared on; the others are reported.
_COMPARED_EVERY = 4


class Tried(BaseModel):
    """One of the fits.

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
    """The fits that decided on context.

    Attributes:
        tried: the fits, each of another `class_width`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tried: tuple[Tried, ...]

    @property
    def class_width(self) -> int:
        """Of the trial with the lowest KL; of equals, of that with the smaller codec."""
        return min(self.tried, key=lambda tried: (tried.kl_nats, tried.class_width)).class_width

    @property
    def seconds(self) -> float:
        """Wall time of all of them."""
        return sum(tried.seconds for tried in self.tried)


def is_open(config: FitConfig, context: RowContext | None, split: Split) -> bool:
    """Whether neither settings nor labels decide on context."""
    return context is not None and config.tries_context and split.unseen_rows >= _COMPARED_EVERY


def planned_steps(config: FitConfig, context: RowContext | None, split: Split) -> int:
    """Steps of a fit, or of all that decide on context."""
    return config.steps * (len(_TRIED_WIDTHS) if is_open(config, context, split) else 1)


def choose_context(
    make: Callable[..., Loop],
    config: FitConfig,
    context: RowContext | None,
    split: Split,
    *,
    out: Path,
    log: Path,
    progress: Progress,
    resume: bool,
) -> tuple[Loop, ContextChoice]:
    """Fit with context and without, and take the better.

    Args:
        make: makes a `Loop` from what differs.
        config: settings of the fit; `class_width` is None.
        context: context of the rows.
        split: which rows are fitted and compared on.
        out: directory of the fit; files are left there until `discard_tried`.
        log: where the log of the better goes.
        progress: called after steps, of `planned_steps`.
        resume: go on from what an interrupted fit has left; otherwise start over.

    Returns:
        The better fit, at its last step, and what decided; the same on every worker.

    Raises:
        As `Loop.run`.
    """
    total = planned_steps(config, context, split)
    loops, tried = [], []
    for number, width in enumerate(_TRIED_WIDTHS):
        checkpoint, own_log = _files(out, width)
        loop = make(
            config=config.with_class_width(width),
            context=context if width else None,
            split=split,
            checkpoint=checkpoint,
            log=own_log,
            progress=_part(progress, number * config.steps, total),
        )
        loop.run(resume=resume)
        # Whoever is interrupted from here on does not lose it.
        loop.save()
        loops.append(loop)
        tried.append(_measured(loop, split))
    choice = ContextChoice(tried=tuple(tried))
    better = loops[_TRIED_WIDTHS.index(choice.class_width)]
    if better.workers.is_first:
        shutil.copyfile(better.log, log)
    return better, choice


def reported_rows(split: Split, choice: ContextChoice | None) -> RowNumbers:
    """Positions of held-out rows that nothing was decided by."""
    held_out = np.arange(split.unseen_rows)
    return held_out if choice is None else held_out[held_out % _COMPARED_EVERY != 0]


def tried_checkpoints(out: Path) -> list[Path]:
    """Where `choose_context` keeps unfinished fits."""
    return [_files(out, width)[0] for width in _TRIED_WIDTHS]


def discard_tried(out: Path) -> None:
    """Remove what `choose_context` has left."""
    for width in _TRIED_WIDTHS:
        for path in _files(out, width):
            path.unlink(missing_ok=True)


def _measured(loop: Loop, split: Split) -> Tried:
    compared = np.arange(0, split.unseen_rows, _COMPARED_EVERY)
    rows = split.unseen(compared[spaced(len(compared), _COMPARED_ROWS)])
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
    """Checkpoint and log of the fit with this `class_width`."""
    return out / f"width-{width}.safetensors", out / f"width-{width}.jsonl"


def _part(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)
