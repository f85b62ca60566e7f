"""States → rows of the `hidden` codec."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import CodecHeader, LabelKind, Rows
from labelcast.codec.latent import HiddenCodec, StatePrecision
from labelcast.errors import LabelValueError
from labelcast_producers.encoding.tokens.base import Positions, SampleIds, Takes, TokenEncoder
from labelcast_producers.encoding.tokens.bf16 import bf16_nearest

# On states of SmolLM2-135M, half the KL of one scale a row for 2 % more bytes.
BLOCK = 64
# A channel that hardly ever differs from 0 gets the scale of one that is so much smaller than most:
# its own would blow up the scale of its block once it does.
_SMALLEST_SHARE = 1 / 16
_LARGEST = {
    # Leaves room for rounding below the largest fp32 number.
    StatePrecision.INT8: 2.0**126,
    StatePrecision.FP16: 65504.0,
    StatePrecision.FP32: np.inf,
}


class HiddenEncoder(TokenEncoder):
    """Keeps states; nothing is clipped, and what cannot be kept is refused."""

    takes = Takes.STATES
    codec: HiddenCodec

    def __init__(self, codec: HiddenCodec) -> None:
        super().__init__(codec)

    @classmethod
    def calibrated(
        cls,
        num_classes: int,
        states: NDArray[np.float32],
        precision: StatePrecision = StatePrecision.INT8,
        block: int = BLOCK,
    ) -> Self:
        """Make an encoder for states like those given.

        Args:
            num_classes: tokens of the vocabulary, V.
            states: float32, shape (n, d); some hundreds are enough. Of fp16 and fp32 only d counts.
            precision: how values are stored.
            block: channels that share a scale in a row; of int8 alone.

        Raises:
            LabelValueError: there are no states, or some are not finite.
        """
        header = CodecHeader(num_classes, LabelKind.LOGITS, None)
        width = states.shape[1]
        if precision is not StatePrecision.INT8:
            return cls(HiddenCodec(header, width, precision))
        if not len(states) or not np.isfinite(states).all():
            raise LabelValueError("the scales of channels need states, all of them finite")
        channels = np.abs(states).max(axis=0)
        channels = np.maximum(channels, np.median(channels) * _SMALLEST_SHARE)
        channels = np.where(channels > 0, channels, 1).astype(np.float32)
        codec = HiddenCodec(header, width, precision, block=min(block, width), channels=channels)
        return cls(codec)

    @property
    def width(self) -> int:
        """Channels of a state, d."""
        return self.codec.width

    def _encode(
        self, values: NDArray[np.float32], sample_ids: SampleIds, positions: Positions
    ) -> Rows:
        self._check_range(values, sample_ids, positions)
        if self.codec.channels is None:
            stored = np.ascontiguousarray(values, dtype=self.codec.precision.dtype)
            return stored.view(np.uint8).reshape(len(values), -1).copy()
        relative = values / self.codec.channels
        starts = np.arange(0, self.width, self.codec.block)
        largest = np.maximum.reduceat(np.abs(relative), starts, axis=1)
        scales = bf16_nearest(largest / np.float32(127))
        # Nothing is clipped: the largest of a block is at most 127 · (1 + 2⁻⁸) of its scale.
        divisors = np.where(scales > 0, scales, 1)
        spread = np.repeat(divisors, self.codec.block, axis=1)[:, : self.width]
        levels = np.rint(relative / spread).astype(np.int8)
        upper = (scales.view(np.uint32) >> 16).astype("<u2").view(np.uint8)
        return np.concatenate([upper.reshape(len(values), -1), levels.view(np.uint8)], axis=1)

    def _check_range(
        self, values: NDArray[np.float32], sample_ids: SampleIds, positions: Positions
    ) -> None:
        precision = self.codec.precision
        sizes = np.abs(values).max(axis=1, initial=0)
        if self.codec.channels is not None:
            # Of a channel with a tiny scale, what the scales of blocks have to cover.
            with np.errstate(over="ignore"):
                sizes = np.maximum(sizes, np.abs(values / self.codec.channels).max(axis=1))
        large = sizes > _LARGEST[precision]
        if large.any():
            first = int(np.argmax(large))
            raise LabelValueError(
                f"a state after position {positions[first]} of sample {sample_ids[first]} holds"
                f" {sizes[first]:.4g}, beyond the {_LARGEST[precision]:.4g} of {precision}; keep"
                " fp32 states"
            )
