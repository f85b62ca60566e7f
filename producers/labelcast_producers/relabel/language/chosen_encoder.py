"""The encoder of token labels that a command line names."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import CodecHeader, LabelKind, TemperatureRange
from labelcast.codec.latent import StatePrecision
from labelcast.codec.sparse import PackedTopKCodec
from labelcast.codec.sparse.distillkit import DistillKitCodec
from labelcast.codec.sparse.missing_mass import MissingMass
from labelcast.errors import InvalidRequestError
from labelcast_producers.encoding.tokens.base import TokenEncoder
from labelcast_producers.encoding.tokens.distillkit import DistillKitEncoder, recommended
from labelcast_producers.encoding.tokens.hidden import HiddenEncoder
from labelcast_producers.encoding.tokens.packed_top_k import PackedTopKEncoder
from labelcast_producers.encoding.tokens.sampled import SLOTS, SampledEncoder

FORMS = (
    "hidden[:int8|fp16|fp32], topk:K[:missing], topk:BYTESB[:missing], sampled[:SLOTS] or"
    " distillkit[:missing]"
)
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
    made: TokenEncoder | None = None
    match name, arguments:
        case "hidden", [] | [_]:
            if temperature != 1:
                raise InvalidRequestError(
                    "states serve any temperature: leave --temperature out with hidden"
                )
            made = _hidden(vocabulary, states, *arguments)
        case "topk", [_] | [_, _]:
            made = _top_k(header, *arguments)
        case "sampled", [] | [_]:
            made = _sampled(header, *arguments)
        case "distillkit", [] | [_]:
            made = _distillkit(header, *arguments)
    if made is None:
        raise InvalidRequestError(f"{text!r} is no codec of token labels; use {FORMS}")
    return made


def _hidden(
    vocabulary: int, states: Callable[[], NDArray[np.float32]], kept: str = StatePrecision.INT8
) -> TokenEncoder | None:
    if kept not in set(StatePrecision):
        return None
    return HiddenEncoder.calibrated(vocabulary, states(), StatePrecision(kept))


def _top_k(header: CodecHeader, size: str, rule: str = MissingMass.SPREAD) -> TokenEncoder | None:
    count = size.removesuffix("B")
    if not count.isdecimal() or rule not in set(MissingMass):
        return None
    missing = MissingMass(rule)
    if count != size:
        return PackedTopKEncoder(PackedTopKCodec.within(header, int(count), missing))
    return PackedTopKEncoder(PackedTopKCodec(header, int(count), _LEVEL_BITS, missing))


def _sampled(header: CodecHeader, slots: str = str(SLOTS)) -> TokenEncoder | None:
    return SampledEncoder.drawing(header, int(slots)) if slots.isdecimal() else None


# By default what DistillKit's trainer does.
def _distillkit(header: CodecHeader, rule: str = MissingMass.RENORMALISE) -> TokenEncoder | None:
    if rule not in set(MissingMass):
        return None
    settings = recommended(header.num_classes)
    return DistillKitEncoder(DistillKitCodec(header, settings, MissingMass(rule)))
