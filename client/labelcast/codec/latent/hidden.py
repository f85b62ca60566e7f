"""`hidden`: a teacher's hidden state after its final norm, whole or in bytes.

A label takes as many values as the state has channels, however large the vocabulary is.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import CodecHeader, TensorSpecs, choice, integer, only_keys
from labelcast.codec.latent.base import LatentCodec
from labelcast.codec.latent.head import MAX_WIDTH, HeadDtype
from labelcast.errors import CodecFormatError, LabelValueError
from labelcast.views import Rows

SCALE_BYTES = 2
NOT_FINITE = "a row holds states that are not finite"
BAD_SCALE = "the scale of a row is negative, infinite or NaN"
BAD_LEVEL = "a row holds the level -128, which no encoder writes"
LOST_LEVELS = "a row holds levels whose scale is 0"
# From here on a bf16 number is infinite, NaN or negative.
_NO_SCALE = 0x7F80


class StatePrecision(StrEnum):
    """How the values of a state are stored."""

    INT8 = "int8"
    FP16 = "fp16"
    FP32 = "fp32"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one stored value, little-endian."""
        return np.dtype({"int8": "i1", "fp16": "<f2", "fp32": "<f4"}[self])


class HiddenCodec(LatentCodec):
    """A row is d values; of int8, behind the scales of its blocks of channels.

    A value of int8 is level · scale of its block in this row (bf16) · scale of its channel in all
    rows. The first covers whatever a row holds, so that no value is ever clipped; the second is for
    channels that are always large, which would leave the others of their block no levels.

    Args:
        header: logits; temperatures None, or those at which the rounding was measured.
        width: channels of a state, d.
        precision: how values are stored.
        block: channels that share a scale in a row, the last ones maybe fewer; 0 unless int8.
        channels: scale of each channel, float32, shape (d,), above 0; None unless int8.

    Raises:
        CodecFormatError: sizes that contradict each other, or a scale that is not above 0.
    """

    name = "hidden"

    def __init__(
        self,
        header: CodecHeader,
        width: int,
        precision: StatePrecision,
        *,
        block: int = 0,
        channels: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(header, width)
        whole = precision is not StatePrecision.INT8
        if whole != (channels is None) or whole != (block == 0):
            raise CodecFormatError("scales of blocks and channels belong to int8 states alone")
        if channels is not None:
            if channels.shape != (width,) or channels.dtype != np.float32:
                raise CodecFormatError(
                    f"a state of {width} channels has as many float32 scales, got"
                    f" {channels.dtype} of shape {channels.shape}"
                )
            # Written so that NaN fails.
            if not ((channels > 0) & np.isfinite(channels)).all():
                raise CodecFormatError("the scale of a channel is not above 0, or not finite")
        self.precision = precision
        self.block = block
        self.channels = channels

    @property
    def num_scales(self) -> int:
        """Scales of one row."""
        return -(-self.width // self.block) if self.block else 0

    @property
    def row_stride(self) -> int:
        return self.num_scales * SCALE_BYTES + self.width * self.precision.dtype.itemsize

    def config(self) -> dict[str, Any]:
        config = {"width": self.width, "precision": str(self.precision)}
        return config | {"block": self.block} if self.block else config

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {} if self.channels is None else {"channels": self.channels}

    @classmethod
    def tensor_specs(cls, header: CodecHeader, config: Mapping[str, Any]) -> TensorSpecs:
        width, precision, _ = _parsed(config)
        return {"channels": ("F32", (width,))} if precision is StatePrecision.INT8 else {}

    @classmethod
    def build(
        cls, header: CodecHeader, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Self:
        width, precision, block = _parsed(config)
        return cls(header, width, precision, block=block, channels=tensors.get("channels"))

    def check_rows(self, rows: Rows) -> None:
        self.latents(rows)

    def latents(self, rows: Rows) -> NDArray[np.float32]:
        self._check_shape(rows)
        start = self.num_scales * SCALE_BYTES
        values = np.ascontiguousarray(rows[:, start:]).view(self.precision.dtype)
        # Damaged scales overflow, which is told below.
        with np.errstate(over="ignore", invalid="ignore"):
            states = values.astype(np.float32)
            if self.channels is not None:
                states *= self._scales(rows[:, :start], values)
                states *= self.channels
        if not np.isfinite(states).all():
            raise LabelValueError(NOT_FINITE)
        return states

    def _scales(self, stored: Rows, levels: NDArray[np.int8]) -> NDArray[np.float32]:
        """Scale of every value in a row: shape (N, d)."""
        if (np.ascontiguousarray(stored).view("<u2") >= _NO_SCALE).any():
            raise LabelValueError(BAD_SCALE)
        if levels.size and levels.min() < -127:
            raise LabelValueError(BAD_LEVEL)
        scales = HeadDtype.BF16.widened(stored)
        if ((scales == 0) & _any_level(levels, self.block)).any():
            raise LabelValueError(LOST_LEVELS)
        return np.repeat(scales, self.block, axis=1)[:, : self.width]


def _any_level(levels: NDArray[np.int8], block: int) -> NDArray[np.bool_]:
    """Whether a block holds any level but 0: shape (N, number of blocks)."""
    starts = np.arange(0, levels.shape[1], block)
    return np.logical_or.reduceat(levels != 0, starts, axis=1)


def _parsed(config: Mapping[str, Any]) -> tuple[int, StatePrecision, int]:
    only_keys(config, "width", "precision", "block")
    width = integer(config, "width", 1, MAX_WIDTH)
    precision = choice(config, "precision", StatePrecision)
    if precision is StatePrecision.INT8:
        return width, precision, integer(config, "block", 1, width)
    only_keys(config, "width", "precision")
    return width, precision, 0
