"""What a codec takes from a context, and how its decoder's first layer gets it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import integer, only_keys
from labelcast.context.rows import (
    CLASS_BYTES,
    CLASSES,
    CONTEXT_STRIDE,
    GEOMETRY_WIDTH,
    LARGEST_GEOMETRY,
    Context,
)
from labelcast.errors import CodecFormatError, CodeRangeError
from labelcast.views import Rows

MAX_CLASS_WIDTH = 1024


@dataclass(frozen=True, slots=True)
class ContextShape:
    """What a codec takes from a context.

    Attributes:
        class_width: values per class embedding.
    """

    class_width: int

    @property
    def row_stride(self) -> int:
        """Bytes of a context row."""
        return CONTEXT_STRIDE

    @property
    def width(self) -> int:
        """Values that the decoder's first layer gets: sample, partner, their mixture, geometry."""
        return 3 * self.class_width + GEOMETRY_WIDTH

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_json` reads back."""
        return {"class_width": self.class_width}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Parse and check.

        Raises:
            CodecFormatError: missing, unknown or out of bounds.
        """
        if not isinstance(value, Mapping):
            raise CodecFormatError(f"codec parameter context is {value!r}, must be an object")
        only_keys(value, "class_width")
        return cls(class_width=integer(value, "class_width", 1, MAX_CLASS_WIDTH))

    def unpack(self, rows: Rows, num_classes: int) -> Context:
        """Unpack context rows.

        Args:
            rows: uint8, shape (N, row_stride).
            num_classes: number of classes, C.

        Raises:
            CodecFormatError: wrong shape, or geometry that no policy draws.
            CodeRangeError: a class out of range.
        """
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != self.row_stride:
            raise CodecFormatError(
                f"context rows must be uint8 of shape (N, {self.row_stride}),"
                f" got {rows.dtype} of shape {rows.shape}"
            )
        ends = [CLASSES * CLASS_BYTES]
        parts = [np.ascontiguousarray(part) for part in np.split(rows, ends, axis=1)]
        classes = parts[0].view("<u4").astype(np.int64)
        geometry = parts[1].view("<f4").astype(np.float32)
        if classes.size and classes.max() >= num_classes:
            raise CodeRangeError(
                f"class {classes.max()} of a context is outside the {num_classes} classes"
            )
        # Written so that NaN fails.
        if not (np.abs(geometry) <= LARGEST_GEOMETRY).all():
            raise CodecFormatError("a context row holds geometry that no policy draws")
        return Context(classes, geometry)

    def values(self, context: Context, classes: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the decoder's first layer gets besides the codewords.

        Args:
            context: context of N views.
            classes: class embeddings, float32, shape (C, class_width).

        Returns:
            float32, shape (N, width).
        """
        own, partner = (classes[context.classes[:, side]] for side in range(CLASSES))
        share = context.geometry[:, -1:]
        return np.concatenate(
            [own, partner, (1 - share) * own + share * partner, context.geometry], axis=1
        )
