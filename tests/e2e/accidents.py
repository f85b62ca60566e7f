"""Streams during which something happens to the service."""

from collections.abc import Callable

import numpy as np

from labelcast import LabelClient, Representation
from tests.e2e.label_sets import KnownLabelSet


def read_with_an_accident(
    client: LabelClient,
    known: KnownLabelSet,
    tag: str,
    representation: Representation,
    accident: Callable[[], object],
) -> None:
    """Stream every view once, in random order, with an accident after a third of them."""
    at = np.random.default_rng(7).permutation(len(known.views))
    done, happened = 0, False
    label_set = client.open(tag)
    for batch in client.stream(label_set, known.views[at].batches(50), representation):
        known.check(batch, at[done : done + len(batch.rows)], representation)
        done += len(batch.rows)
        if not happened and done > len(at) // 3:
            accident()
            happened = True
    assert done == len(at)
