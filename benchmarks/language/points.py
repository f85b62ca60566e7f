"""Every point: what is kept of a prediction."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from labelcast_producers.encoding.tokens.base import TokenEncoder
from numpy.typing import NDArray

MakeEncoder = Callable[[int, NDArray[np.float32]], TokenEncoder]


@dataclass(frozen=True)
class Point:
    """One form of labels.

    Attributes:
        name: on the command line.
        title: for people.
        encoder: makes the encoder, of V and of some of the teacher's states, shape (n, d). None
            for the yardsticks.
    """

    name: str
    title: str
    encoder: MakeEncoder | None


HARD, DENSE = "hard", "dense"


def _hidden_int8(vocabulary: int, states: NDArray[np.float32]) -> TokenEncoder:
    from labelcast_producers.encoding.tokens.hidden import HiddenEncoder

    return HiddenEncoder.calibrated(vocabulary, states)


def _top_k(row_bytes: int) -> MakeEncoder:
    def make(vocabulary: int, states: NDArray[np.float32]) -> TokenEncoder:
        from labelcast_producers.encoding.tokens.packed_top_k import PackedTopKEncoder

        from labelcast.codec import CodecHeader, LabelKind, TemperatureRange
        from labelcast.codec.sparse import MissingMass, PackedTopKCodec

        header = CodecHeader(vocabulary, LabelKind.PROBABILITIES, TemperatureRange(1.0, 1.0))
        return PackedTopKEncoder(PackedTopKCodec.within(header, row_bytes, MissingMass.LUMPED))

    return make


_TABLE = (
    Point(HARD, "hard labels", None),
    Point(DENSE, "dense: fp32 states and head", None),
    Point("hidden-int8", "states, int8", _hidden_int8),
    Point("topk-114", "top-k within 114 B", _top_k(114)),
    Point("topk-80", "top-k within 80 B", _top_k(80)),
)
POINTS = {point.name: point for point in _TABLE}
