"""The encoder of a point."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.language.points import DISTILLKIT
from labelcast.codec import CodecHeader, LabelKind, TemperatureRange
from labelcast.codec.sparse import MissingMass
from labelcast.codec.sparse.distillkit import DistillKitCodec
from labelcast_producers.encoding.tokens.base import TokenEncoder
from labelcast_producers.encoding.tokens.distillkit import DistillKitEncoder, recommended
from labelcast_producers.relabel.language.chosen_encoder import choose_token_encoder

TEMPERATURE = 1.0


def make_encoder(
    codec: str, vocabulary: int, states: Callable[[], NDArray[np.float32]]
) -> TokenEncoder:
    """Make the encoder that a point names.

    Args:
        codec: of the point.
        vocabulary: tokens, V.
        states: gives some of the teacher's states, shape (n, d).
    """
    if codec == DISTILLKIT:
        ends = TemperatureRange(TEMPERATURE, TEMPERATURE)
        header = CodecHeader(vocabulary, LabelKind.PROBABILITIES, ends)
        # As its trainer does.
        missing = MissingMass.RENORMALISE
        return DistillKitEncoder(DistillKitCodec(header, recommended(vocabulary), missing))
    return choose_token_encoder(codec, vocabulary, states, temperature=TEMPERATURE)
