"""Context rows: what both ends know of a view without any code.

The hard labels of the sample and of its mix partner, where each was cropped, and what share of the
view shows the partner cost no bits: both ends derive them from tables that the manifest pins by
digest (`labelcast.context.view`). A context row is never part of a request and never stored: a
wrong one would be a wrong label.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import Rows, integer, only_keys
from labelcast.errors import CodecFormatError, CodeRangeError

# Crop (top, left, height, width), rotation and flip of the sample's view and of the partner's;
# mix box (top, left, bottom, right); the partner's share of the view.
GEOMETRY_WIDTH = 6 + 6 + 4 + 1
MAX_CLASS_WIDTH = 1024

_CLASSES = 2
_CLASS_BYTES = 4
CONTEXT_STRIDE = _CLASSES * _CLASS_BYTES + 4 * GEOMETRY_WIDTH
# Everything is a fraction, twice a fraction less 1, or an angle in units of 45 degrees.
LARGEST_GEOMETRY = 4.0


@dataclass(frozen=True, eq=False, slots=True)
class Context:
    """Unpacked context rows.

    Attributes:
        classes: int64, shape (N, 2): hard labels of sample and partner.
        geometry: float32, shape (N, GEOMETRY_WIDTH); the last column is the partner's share.
    """

    classes: NDArray[np.int64]
    geometry: NDArray[np.float32]

    def pack(self) -> Rows:
        """As uint8, shape (N, stride)."""
        return np.concatenate(
            [
                np.ascontiguousarray(self.classes.astype("<u4")).view(np.uint8),
                np.ascontiguousarray(self.geometry.astype("<f4")).view(np.uint8),
            ],
            axis=1,
        )


@dataclass(frozen=True, slots=True)
class ContextShape:
    """What a codec takes of a context.

    Attributes:
        class_width: values of a class embedding.
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
        """Read and bound.

        Raises:
            CodecFormatError: missing, unknown or out of bounds.
        """
        if not isinstance(value, Mapping):
            raise CodecFormatError(f"codec parameter context is {value!r}, must be an object")
        only_keys(value, "class_width")
        return cls(class_width=integer(value, "class_width", 1, MAX_CLASS_WIDTH))

    def unpack(self, rows: Rows, num_classes: int) -> Context:
        """Read context rows.

        Args:
            rows: uint8, shape (N, row_stride).
            num_classes: C.

        Raises:
            CodecFormatError: wrong shape, or geometry that no policy draws.
            CodeRangeError: a class out of range.
        """
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != self.row_stride:
            raise CodecFormatError(
                f"context rows must be uint8 of shape (N, {self.row_stride}),"
                f" got {rows.dtype} of shape {rows.shape}"
            )
        ends = [_CLASSES * _CLASS_BYTES]
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
        """What the decoder's first layer gets beside the codewords.

        Args:
            context: context of N views.
            classes: class embeddings, float32, shape (C, class_width).

        Returns:
            float32, shape (N, width).
        """
        own, partner = (classes[context.classes[:, side]] for side in range(_CLASSES))
        share = context.geometry[:, -1:]
        return np.concatenate(
            [own, partner, (1 - share) * own + share * partner, context.geometry], axis=1
        )
