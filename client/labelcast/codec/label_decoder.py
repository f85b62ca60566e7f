"""Rows of a label set → labels, with the context that they need."""

from dataclasses import dataclass

from labelcast.codec import Codec, Labels, Rows
from labelcast.context.view_context import ViewContext
from labelcast.views import Views


@dataclass(frozen=True, eq=False, slots=True)
class LabelDecoder:
    """The numpy decoder of one label set.

    Attributes:
        codec: proven on its golden rows and against the manifest.
        context: context of a conditioned codec; None for others.
    """

    codec: Codec
    context: ViewContext | None

    def decode(self, rows: Rows, views: Views) -> Labels:
        """Decode packed rows.

        Args:
            rows: uint8, shape (N, row_stride).
            views: view of each row.

        Returns:
            float32, shape (N, C), in row order.

        Raises:
            Those of `Codec.decode`; ViewNotFoundError: a view has no sample in the label set.
        """
        return self.codec.decode(rows, None if self.context is None else self.context.rows(views))
