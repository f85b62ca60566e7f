"""A process that reads codes through a cache, epoch by epoch; a program, which tells what came.

    python -m tests.e2e.cached_reader ADDRESS TAG DIRECTORY CACHE FETCH

DIRECTORY holds the label set that the service has under TAG: every label is compared with it. For
each line on standard input it reads an epoch, in this process if the line is "here", else in two
workers of a DataLoader that are started in the way that the line names. Each time it prints a line
of JSON: {"received", "choice"}.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from labelcast import LabelClient, RemoteLabelSet, Representation, Views
from labelcast.label_set_directory import LabelSetDirectory

BATCH = 256


def all_views(known: LabelSetDirectory) -> Views:
    """Every view, in an order in which none follows its neighbour."""
    views = known.index().segments[0].views()
    return views[np.random.default_rng(0).permutation(len(views))]


def read_here(label_set: RemoteLabelSet, known: LabelSetDirectory) -> None:
    """Compare every code with the directory's, and read what workers decode with."""
    label_set.codec()
    views = all_views(known)
    seen = 0
    for batch in label_set.stream(views.batches(BATCH), Representation.codes()):
        asked = views[seen : seen + len(batch.views)]
        assert np.array_equal(batch.rows, known.gather(asked)), "WRONG LABELS"
        seen += len(asked)
    assert seen == len(views), "not every view once"


class Batches:
    """A data set whose items are batches of labels, read wherever the item is asked for.

    Args:
        label_set: label set of a service, perhaps of another process.
        views: views of all batches.
    """

    def __init__(self, label_set: RemoteLabelSet, views: Views) -> None:
        self._label_set = label_set
        self._batches = list(views.batches(BATCH))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> tuple[int, Any]:
        views = self._batches[number]
        return number, self._label_set.labels(views.sample_ids, views.seeds)


def read_in_workers(label_set: RemoteLabelSet, known: LabelSetDirectory, method: str) -> None:
    """Compare every label with the directory's, read batch by batch by two workers."""
    from torch.utils.data import DataLoader

    views = all_views(known)
    batches: Any = Batches(label_set, views)
    seen = 0
    for number, labels in DataLoader(
        batches, batch_size=None, num_workers=2, multiprocessing_context=method
    ):
        assert number * BATCH == seen, "not every batch once"
        asked = views[seen : seen + BATCH]
        expected = known.labels(asked.sample_ids, asked.seeds)
        assert np.array_equal(np.asarray(labels), expected), "WRONG LABELS"
        seen += len(asked)
    assert seen == len(views), "not every view once"


def main() -> None:
    address, tag, directory, cache, fetch = sys.argv[1:]
    known = LabelSetDirectory(Path(directory))
    client = LabelClient(address, cache_directory=cache, fetch_shards=fetch)
    label_set = client.open(tag)
    for line in sys.stdin:
        if line.strip() == "here":
            read_here(label_set, known)
        else:
            read_in_workers(label_set, known, line.strip())
        told = {"received": client.wire_bytes.received, "choice": str(label_set.code_choice)}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
