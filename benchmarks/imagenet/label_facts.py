"""What there is to say of a directory of labels."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast_producers.dense.labels import DenseLabels


def label_facts(directory: Path, *, block_rows: int = 2000) -> dict[str, Any]:
    """How many labels there are, how spread they are, and how often the hard class is likeliest.

    Args:
        directory: as `labelcast relabel` writes it.
        block_rows: labels that are read at once.

    Returns:
        `labels`; `entropy_nats`, its mean at temperature 1; `hard_class_share`, of labels whose
        likeliest class is the hard label of their picture; `hard_class_mass`, the mean probability
        of that class.
    """
    dense = DenseLabels.open(directory)
    assert dense.hard_labels is not None
    rows = dense.rows.num_rows
    views = dense.index.views()
    hard = dense.hard_labels[np.searchsorted(dense.index.sample_ids, views.sample_ids)]
    totals = np.zeros(3)
    for start in range(0, rows, block_rows):
        block = slice(start, min(start + block_rows, rows))
        totals += _sums(dense.rows.read(block.start, block.stop), hard[block])
    entropy, share, mass = (totals / rows).tolist()
    return {
        "labels": rows,
        "entropy_nats": entropy,
        "hard_class_share": share,
        "hard_class_mass": mass,
    }


def _sums(logits: NDArray[Any], hard: NDArray[np.int64]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float32)
    shifted -= shifted.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    mass = exponentials.sum(axis=1, keepdims=True)
    probabilities = exponentials / mass
    entropy = np.log(mass[:, 0]) - (probabilities * shifted).sum(axis=1)
    of_hard = probabilities[np.arange(len(hard)), hard]
    right = logits.argmax(axis=1) == hard
    return np.array([entropy.sum(), right.sum(), of_hard.sum()], dtype=np.float64)
