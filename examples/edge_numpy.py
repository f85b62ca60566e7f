"""Decode labels where there is no torch: `pip install .` and a directory from `labelcast pull`.

python examples/edge_numpy.py local/
"""

import sys
from pathlib import Path

import numpy as np

import labelcast


def main(directory: Path) -> None:
    """Decode every stored view, a few at a time."""
    label_set = labelcast.open(directory)
    views = label_set.index().segments[0].views()
    classes, entropies = label_set.contract.num_classes, list[float]()
    for start in range(0, len(views), 256):
        some = views[start : start + 256]
        logits = label_set.labels(some.sample_ids, some.seeds)  # float32, shape (256, C)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        entropies += (-(shares * np.log(shares + 1e-12)).sum(axis=1)).tolist()
    assert "torch" not in sys.modules
    print(
        f"{len(views):,} labels of {classes} classes, {label_set.code_stride} bytes each;"
        f" their mean entropy is {np.mean(entropies):.2f} nats"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
