"""Packed rows of views out of the shards of a label set, wherever these are kept."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Rows
from labelcast.label_set.index.whole import ViewIndex
from labelcast.label_set.manifest import Manifest
from labelcast.label_set.section import Section, Shard
from labelcast.views import Views

ShardRows: TypeAlias = Callable[[Section, Shard, NDArray[np.int64]], Rows]


def gather(manifest: Manifest, index: ViewIndex, views: Views, shard_rows: ShardRows) -> Rows:
    """Packed rows of views.

    Args:
        manifest: manifest of the label set.
        index: index of its views.
        views: views to find.
        shard_rows: gives rows of a shard, verified: uint8, shape (N, stride). It is not asked for a
            shard without rows.

    Returns:
        uint8, shape (N, stride), in the order of the views.

    Raises:
        ViewNotFoundError: a view is not in the label set.
    """
    segments, rows = index.locate(views)
    packed = np.empty((len(views), manifest.segments[0].codes.stride), dtype=np.uint8)
    for number, segment in enumerate(manifest.segments):
        chosen = np.flatnonzero(segments == number)
        first = 0
        for shard in segment.codes.shards:
            inside = (rows[chosen] >= first) & (rows[chosen] < first + shard.rows)
            at = chosen[inside]
            if len(at):
                packed[at] = shard_rows(segment.codes, shard, rows[at] - first)
            first += shard.rows
    return packed
