"""Reading labels as trainers do. Light: every reader is a process of its own."""

import time

import numpy as np

from labelcast import LabelClient, Precision, RemoteLabelSet, Representation, Views
from labelcast.label_set.index.base import SegmentIndex

CODES = Representation.codes()
DENSE = Representation.logits(Precision.FP16)
BATCH = 1024


def shuffled(index: SegmentIndex, count: int, seed: int = 3) -> Views:
    """Views as trainers ask: all samples in random order under one seed, then the next."""
    rng = np.random.default_rng(seed)
    ids, seeds = index.sample_ids, index.seeds
    epochs = -(-count // len(ids))
    order = [ids[rng.permutation(len(ids))] for _ in range(epochs)]
    under = np.repeat(seeds[np.arange(epochs) % len(seeds)], len(ids))
    return Views(np.concatenate(order)[:count], under[:count])


def labels_per_second(
    client: LabelClient,
    label_set: RemoteLabelSet,
    views: Views,
    form: Representation,
    batch: int = BATCH,
) -> float:
    """Labels a second of one stream."""
    began, count = time.perf_counter(), 0
    for delivered in client.stream(label_set, views.batches(batch), form):
        count += len(delivered.rows)
    assert count == len(views)
    return count / (time.perf_counter() - began)
