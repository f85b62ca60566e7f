"""Label sets of sequences whose every right answer is known."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast import Views
from tests.e2e.label_sets import KnownLabelSet
from tests.factories.sequence_sets import make_sequence_set

LENGTHS = tuple(int(length) for length in np.random.default_rng(4).integers(1, 60, 90))


def known_sequences(directory: Path, *, labelled: NDArray[np.bool_] | None = None) -> KnownLabelSet:
    """Ninety sequences of `LENGTHS`, of top-k labels."""
    made, labels = make_sequence_set(directory, lengths=LENGTHS, labelled=labelled)
    (segment,) = made.index().segments
    rows = made.rows(made.manifest.segments[0].codes)
    return KnownLabelSet(made, made.codec(), rows, None, labels, segment.views())


def by_sequence(views: Views) -> list[Views]:
    """Views of each sample, which a client asks for as a span."""
    cuts = np.flatnonzero(views.sample_ids[1:] != views.sample_ids[:-1]) + 1
    ends = [0, *cuts.tolist(), len(views)]
    return [views[first:last] for first, last in pairwise(ends)]
