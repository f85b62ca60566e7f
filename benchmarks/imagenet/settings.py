"""What is run, and how much of it."""

from dataclasses import asdict, dataclass
from typing import Any

TEACHER_NAME = "EfficientNet-Lite0, ImageNet-1K"
CLASSES = 1000
PICTURE_SIZE = 256
VIEW_SIZE = 224
# Samples that share a CutMix box. SRe2L mixes 10 batches an epoch at ten images per class: so do
# 1,000 pictures with this, which is RDED's own. The paper's 1,024 would leave one box an epoch.
MIX_BATCH = 100


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything.

    Attributes:
        name: of the work directory.
        pictures: to train on.
        seeds: views of each, as SRe2L makes them.
        rded_pictures: the first of these, which get RDED's views too.
        rded_seeds: views of each, as RDED makes them.
        held_out_pictures: to test on.
        held_out_seeds: crops of each.
    """

    name: str
    pictures: int
    seeds: int
    rded_pictures: int
    rded_seeds: int
    held_out_pictures: int
    held_out_seeds: int

    def as_json(self) -> dict[str, Any]:
        """What two results must share to be compared."""
        return asdict(self) | {
            "picture_size": PICTURE_SIZE,
            "view_size": VIEW_SIZE,
            "mix_batch": MIX_BATCH,
        }


FULL = Scale(
    name="imagenet",
    pictures=1000,
    seeds=75,
    rded_pictures=500,
    rded_seeds=24,
    held_out_pictures=420,
    held_out_seeds=24,
)
QUICK = Scale(
    name="imagenet-quick",
    pictures=24,
    seeds=6,
    rded_pictures=12,
    rded_seeds=6,
    held_out_pictures=12,
    held_out_seeds=4,
)
SCALES = {scale.name: scale for scale in (FULL, QUICK)}
