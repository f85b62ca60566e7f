"""The label sets that students read."""

from collections.abc import Sequence

from benchmarks.chaos.label_sets import SpelledSet
from benchmarks.chaos.sequences import SpelledSequences

# Each has a twin of the same shape: a row of the other would pass every check of sizes.
SETS: Sequence[SpelledSet] = (
    SpelledSet("chaos:narrow-a", "raw", 1, 2000, 60, 4, sample_step=1),
    SpelledSet("chaos:narrow-b", "raw", 2, 2000, 60, 4, sample_step=1),
    SpelledSet("chaos:wide-a", "raw", 3, 500, 12, 1000),
    SpelledSet("chaos:wide-b", "raw", 4, 500, 12, 1000),
    SpelledSet("chaos:vqae-a", "vqae", 5, 2000, 60, 1000),
    SpelledSet("chaos:vqae-b", "vqae", 6, 2000, 60, 1000),
    SpelledSequences("chaos:text-a", "raw", 7, 800, 150, 40),
    SpelledSequences("chaos:text-b", "raw", 8, 800, 150, 40),
)


def set_named(tag: str) -> SpelledSet:
    """One of `SETS`."""
    return next(known for known in SETS if known.tag == tag)
