"""Logits → rows of the `topk-packed` codec."""

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Rows
from labelcast.codec.sparse import PackedTopKCodec
from labelcast.codec.sparse.packed_top_k import level_of, mass_levels
from labelcast_producers.encoding.tokens.base import Positions, SampleIds, Takes, TokenEncoder
from labelcast_producers.encoding.tokens.softmax import temperature_of, top_classes


class PackedTopKEncoder(TokenEncoder):
    """Keeps the k likeliest tokens; of equal ones, those of the lowest IDs."""

    takes = Takes.LOGITS
    codec: PackedTopKCodec

    def __init__(self, codec: PackedTopKCodec) -> None:
        super().__init__(codec)

    @property
    def width(self) -> int:
        """Tokens of the vocabulary, V."""
        return self.codec.header.num_classes

    def _encode(
        self, values: NDArray[np.float32], sample_ids: SampleIds, positions: Positions
    ) -> Rows:
        top = top_classes(values, temperature_of(self.codec.header), self.codec.k)
        levels = level_of(top.log_ratios, self.codec.bits)
        # A token that is too unlikely for the lowest level is one of the others.
        mass = top.others + np.where(levels == 0, top.probabilities, 0).sum(axis=1)
        return self.codec.pack(top.ids, levels, mass_levels(mass))
