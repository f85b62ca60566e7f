"""Encoders of logits, made encoders of states by a head."""

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Rows
from labelcast.codec.latent import Head
from labelcast.errors import CodecFormatError
from labelcast_producers.encoding.tokens.base import Positions, SampleIds, Takes, TokenEncoder

# Logits that are held at once: a few arrays of this size, whatever the vocabulary.
_BLOCK_VALUES = 2**23


class ThroughHead(TokenEncoder):
    """Makes logits of states, some tokens at a time, and passes them on.

    A matrix product may differ in its last bits with the number of its rows: give the same blocks
    for the same bytes.

    Args:
        encoder: takes logits.
        head: teacher's head.

    Raises:
        CodecFormatError: the head is of another vocabulary, or the encoder takes states itself.
    """

    takes = Takes.STATES

    def __init__(self, encoder: TokenEncoder, head: Head) -> None:
        super().__init__(encoder.codec)
        if encoder.takes is not Takes.LOGITS or encoder.width != head.vocabulary:
            raise CodecFormatError(
                f"an encoder of {encoder.width} {encoder.takes} cannot follow a head of"
                f" {head.vocabulary} tokens"
            )
        self._encoder = encoder
        self._head = head
        self._step = max(1, _BLOCK_VALUES // head.vocabulary)

    @property
    def width(self) -> int:
        """Channels of a state, d."""
        return self._head.width

    def _encode(
        self, values: NDArray[np.float32], sample_ids: SampleIds, positions: Positions
    ) -> Rows:
        rows = np.empty((len(values), self.codec.row_stride), dtype=np.uint8)
        for start in range(0, len(values), self._step):
            part = slice(start, start + self._step)
            rows[part] = self._encoder.encode(
                self._head.logits(values[part]),
                sample_ids=sample_ids[part],
                positions=positions[part],
            )
        return rows
