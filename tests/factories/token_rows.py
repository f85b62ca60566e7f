"""Predictions of a made-up language model, and an encoder of every kind for them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import CodecHeader, LabelKind, Rows, TemperatureRange
from labelcast.codec.latent import Head, HeadDtype, HeadSpec, head_digest
from labelcast.codec.sparse import MissingMass, PackedTopKCodec
from labelcast.codec.sparse.distillkit import DistillKitCodec
from labelcast_producers.encoding.tokens.base import TokenEncoder
from labelcast_producers.encoding.tokens.distillkit import DistillKitEncoder, recommended
from labelcast_producers.encoding.tokens.packed_top_k import PackedTopKEncoder
from labelcast_producers.encoding.tokens.sampled import SampledEncoder

AT_ONE = TemperatureRange(1.0, 1.0)


def header_of(vocabulary: int) -> CodecHeader:
    return CodecHeader(vocabulary, LabelKind.PROBABILITIES, AT_ONE)


def logits_of(count: int, vocabulary: int, seed: int = 0) -> NDArray[np.float32]:
    """Logits of which a few tokens hold most."""
    drawn = np.random.default_rng(seed).normal(0, 3, (count, vocabulary))
    return drawn.astype(np.float32)


def head_of(vocabulary: int, width: int, seed: int = 0) -> Head:
    values = np.random.default_rng(seed).normal(size=(vocabulary, width)).astype("<f4")
    parts = [values.view(np.uint8)]
    digest = head_digest(vocabulary, width, HeadDtype.FP32, parts)
    return Head(HeadSpec(digest=digest, width=width, dtype=HeadDtype.FP32), parts)


def encode(encoder: TokenEncoder, values: NDArray[np.float32], first: int = 0) -> Rows:
    """Encode values as positions 0, 1, 2, ... of samples that count on from `first`."""
    count = len(values)
    return encoder.encode(
        values,
        sample_ids=np.arange(first, first + count, dtype=np.uint64),
        positions=np.arange(count, dtype=np.uint32),
    )


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    exponentials = np.exp(
        (logits.astype(np.float64) - logits.max(axis=1, keepdims=True)) / temperature
    )
    shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def packed(
    missing: MissingMass = MissingMass.SPREAD, vocabulary: int = 50, k: int = 9, bits: int = 8
) -> PackedTopKEncoder:
    return PackedTopKEncoder(PackedTopKCodec(header_of(vocabulary), k, bits, missing))


def distillkit(
    vocabulary: int = 50, missing: MissingMass = MissingMass.RENORMALISE
) -> DistillKitEncoder:
    settings = replace(recommended(vocabulary), k=20, exact_k=8)
    return DistillKitEncoder(DistillKitCodec(header_of(vocabulary), settings, missing))


SPARSE: dict[str, Callable[[int], TokenEncoder]] = {
    **{f"packed-{rule}": partial(packed, rule) for rule in MissingMass},
    "distillkit": distillkit,
    "sampled": lambda v: SampledEncoder.drawing(header_of(v)),
    "sampled-weighted": lambda v: SampledEncoder.drawing(header_of(v), 5, proposal=1.5),
}
