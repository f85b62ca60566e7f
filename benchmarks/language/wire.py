"""What a student receives from a service for each token."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.language.label_sets import views_of
from benchmarks.language.place import Place
from benchmarks.language.points import Point
from labelcast import Representation
from labelcast_glyphs.local_service import local_service

_TAG = "bench:language"


def wire_bytes_per_token(point: Point, place: Place) -> float:
    """Bytes sent and received over gRPC for an epoch in the batches of students, codes alone.

    Opening the label set, its head and its codec are not in it.
    """
    lengths, scale = place.train.lengths, place.scale
    order = np.random.default_rng(0).permutation(len(lengths))
    batches = [
        views_of(numbers, lengths[numbers])
        for numbers in np.split(order, range(scale.batch, len(order), scale.batch))
    ]
    with (
        tempfile.TemporaryDirectory() as directory,
        local_service(Path(directory)) as service,
        service.registry() as registry,
        service.client(fetch_shards="never") as client,
    ):
        registry.push(place.label_set(point), _TAG)
        label_set = client.open(_TAG)
        before = client.wire_bytes.total
        received = sum(
            len(found.rows) for found in label_set.stream(batches, Representation.codes())
        )
        return (client.wire_bytes.total - before) / received
