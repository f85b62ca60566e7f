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
    sections = [segment.codes for segment in manifest.segments]
    shards = [(section, shard) for section in sections for shard in section.shards]
    # First row of each shard, counted over all segments.
    firsts = np.cumsum([0, *(shard.rows for _, shard in shards)])
    if len(sections) > 1:
        rows = rows + np.cumsum([0, *(section.rows for section in sections)])[segments]
    # Sorted, rows of a shard lie together: no shard has to look through all of them for its own.
    order = np.argsort(rows)
    wanted = rows[order]
    cuts = np.searchsorted(wanted, firsts).tolist()
    found = np.empty((len(views), sections[0].stride), dtype=np.uint8)
    for number, (section, shard) in enumerate(shards):
        at = slice(cuts[number], cuts[number + 1])
        if at.start < at.stop:
            found[at] = shard_rows(section, shard, wanted[at] - firsts[number])
    packed = np.empty_like(found)
    packed[order] = found
    return packed
