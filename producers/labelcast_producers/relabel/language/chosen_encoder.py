"""The encoder of token labels that a command line names."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import CodecHeader, LabelKind, TemperatureRange
from labelcast.codec.latent import StatePrecision
from labelcast.codec.sparse import PackedTopKCodec
from labelcast.codec.sparse.missing_mass import MissingMass
from labelcast.errors import InvalidRequestError
from labelcast_producers.encoding.tokens.base import TokenEncoder
from labelcast_producers.encoding.tokens.hidden import HiddenEncoder
from labelcast_producers.encoding.tokens.packed_top_k import PackedTopKEncoder
from labelcast_producers.encoding.tokens.sampled import SLOTS, SampledEncoder

FORMS = "hidden[:int8|fp16|fp32], topk:K[:missing], topk:BYTESB[:missing] or sampled[:SLOTS]"
_LEVEL_BITS = 4


def choose_token_encoder(
    text: str, vocabulary: int, states: Callable[[], NDArray[np.float32]], *, temperature: float
) -> TokenEncoder:
    """Make an encoder from what `FORMS` says, such as ``topk:32:lumped`` or ``topk:80B``.

    Args:
        text: text from the command line.
        vocabulary: tokens, V.
        states: gives some hundred states of the teacher, shape (n, d), for those codecs that keep
            states.
        temperature: softmax temperature of the probabilities that others keep.

    Raises:
        InvalidRequestError: the text is none of these, or keeps states of a model that has none.
        CodecFormatError: a number out of range.
    """
    name, *arguments = text.split(":")
    ends = TemperatureRange(temperature, temperature)
    header = CodecHeader(vocabulary, LabelKind.PROBABILITIES, ends)
    match name, arguments:
        case "hidden", [] | [_]:
            kept = arguments[0] if arguments else StatePrecision.INT8
            if temperature != 1:
                raise InvalidRequestError(
                    "states serve any temperature: leave --temperature out with hidden"
                )
            if kept in set(StatePrecision):
                return HiddenEncoder.calibrated(vocabulary, states(), StatePrecision(kept))
        case "topk", [size] | [size, _]:
            rule = arguments[1] if len(arguments) == 2 else MissingMass.SPREAD
            count = size.removesuffix("B")
            if count.isdecimal() and rule in set(MissingMass):
                missing = MissingMass(rule)
                if count != size:
                    return PackedTopKEncoder(PackedTopKCodec.within(header, int(count), missing))
                return PackedTopKEncoder(PackedTopKCodec(header, int(count), _LEVEL_BITS, missing))
        case "sampled", [] | [_]:
            slots = arguments[0] if arguments else str(SLOTS)
            if slots.isdecimal():
                return SampledEncoder.drawing(header, int(slots))
    raise InvalidRequestError(f"{text!r} is no codec of token labels; use {FORMS}")
