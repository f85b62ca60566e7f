"""What the labels of control views decode to, from the codes as they are stored."""

from collections.abc import Iterable, Iterator

import numpy as np

from labelcast.codec import Codec, Rows
from labelcast.label_set.control_views import ControlViews
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.dense.row_context import RowContext


class ControlLabels:
    """Picks the codes of control views out of all codes as they pass.

    Args:
        dense: labels with thumbnails, if there are any.
        codec: codec of the codes.
        context: what it is conditioned on; None for others.
    """

    def __init__(self, dense: DenseLabels, codec: Codec, context: RowContext | None) -> None:
        self._images = dense.control_images
        self._codec, self._context = codec, context
        views = None if self._images is None else self._images.views
        self._wanted = np.empty(0, np.int64) if views is None else dense.index.rows(views)[0]
        self._codes = np.empty((len(self._wanted), codec.row_stride), dtype=np.uint8)

    def watching(self, blocks: Iterable[Rows]) -> Iterator[Rows]:
        """The same blocks, which begin at row 0."""
        first = 0
        for block in blocks:
            inside = (self._wanted >= first) & (self._wanted < first + len(block))
            self._codes[inside] = block[self._wanted[inside] - first]
            first += len(block)
            yield block

    def control_views(self) -> ControlViews | None:
        """Control views with the labels that a student will decode; None without thumbnails."""
        if self._images is None:
            return None
        about = None if self._context is None else self._context.rows(self._wanted)
        return ControlViews.of(self._images, self._codec.decode(self._codes, about))
