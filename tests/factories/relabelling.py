"""A teacher, pictures and a run, which other processes can import and start."""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from labelcast.errors import LabelcastError
from labelcast.torch import SampleTable
from labelcast_producers.dense.labels import LABELS_NAME, DenseLabels
from labelcast_producers.fitting.parallel import ALONE, Workers, joined_workers
from labelcast_producers.relabel.recipes import Recipe
from labelcast_producers.relabel.relabeller import relabel
from tests.factories.pictures import CLASSES, Pictures

SAMPLES, EPOCHS, BATCH_ROWS = 40, 9, 7
RECIPE = Recipe(
    name="small", paper="0", batch_size=8, patch_grid=2, epochs=EPOCHS, crop_scale=(0.3, 1.0)
)


class SmallTeacher(nn.Module):
    """Linear in the pixels of six rows and columns.

    Its sums are of doubles, so that their order, which is the library's business, does not show in
    labels of fp16.

    Args:
        held_after: shown so many batches, it gives no answer to the next.
        seed: of its weights; None for the process's own.
        channels: of the images.
        sick: the 3rd batch that worker 1 shows it becomes NaN.
    """

    def __init__(
        self,
        *,
        held_after: int | None = None,
        seed: int | None = 0,
        channels: int = 2,
        sick: bool = False,
    ) -> None:
        super().__init__()
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        shape = (len(CLASSES), channels * 36)
        self.weight = nn.Parameter(torch.randn(shape, generator=generator))
        self.held_after, self.sick, self.shown = held_after, sick, 0

    def forward(self, images: Tensor) -> Tensor:
        while self.shown == self.held_after:
            time.sleep(0.1)
        self.shown += 1
        logits = (images.flatten(1).double() @ self.weight.double().T).float()
        if self.sick and self.shown == 3:
            return logits * float("nan")
        return logits


def label(
    out: Path,
    teacher: SmallTeacher | None = None,
    *,
    recipe: Recipe = RECIPE,
    batch_rows: int = BATCH_ROWS,
    fresh: bool = False,
    workers: Workers = ALONE,
) -> DenseLabels:
    """What every test labels; progress is noted after every batch."""
    table, policy = SampleTable(Pictures(SAMPLES)), recipe.policy(6, 6)
    kept = recipe.kept_views(len(table))
    return relabel(
        SmallTeacher() if teacher is None else teacher,
        table,
        policy,
        seeds=kept.seeds,
        present=kept.present,
        recipe=recipe,
        out=out,
        teacher_name="slow",
        device="cpu",
        batch_rows=batch_rows,
        fresh=fresh,
        save_seconds=0,
        workers=workers,
    )


def stored(out: Path) -> bytes:
    return (out / LABELS_NAME).read_bytes()


def write_images(root: Path) -> Path:
    """Two small pictures of each class, as files."""
    rng = np.random.default_rng(3)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (8, 11, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def batches_noted(out: Path) -> set[int]:
    """Batches that any worker says are done."""
    found: set[int] = set()
    for rank in range(2):
        with suppress(FileNotFoundError):  # not written yet, or taken over into another's
            noted = json.loads((out / f"progress-{rank}.json").read_bytes())
            found.update(*(range(begin, end) for begin, end in noted["batches"]))
    return found


def main(out: Path, kind: str) -> None:
    """What each of the processes does."""
    with joined_workers() as workers:
        teachers = {
            "held": {"held_after": 3},
            "sick": {"sick": workers.rank == 1},
            "own": {"seed": None},
        }
        try:
            label(out, SmallTeacher(**teachers[kind]), workers=workers)  # type: ignore[arg-type]
        except LabelcastError as error:
            print(error.message, flush=True)
            sys.exit(1)
