"""One small codec of every kind, with rows that it accepts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import (
    Codec,
    CodecHeader,
    Context,
    ContextShape,
    LabelKind,
    Precision,
    RawCodec,
    Recovery,
    Rows,
    TemperatureRange,
    TopKCodec,
    VqaeCodec,
    VqaeShape,
    pack_codes,
    write_artifact,
)
from labelcast.context.rows import GEOMETRY_WIDTH

NUM_CLASSES = 7
AT_ONE = TemperatureRange(1.0, 1.0)


@dataclass(frozen=True)
class Sample:
    codec: Codec
    rows: Rows

    @property
    def artifact(self) -> bytes:
        return write_artifact(self.codec, self.rows[:4])


def raw(precision: Precision = Precision.FP16, count: int = 9) -> Sample:
    values = np.random.default_rng(1).normal(0, 5, (count, NUM_CLASSES)).astype(precision.dtype)
    codec = RawCodec(CodecHeader(NUM_CLASSES, LabelKind.LOGITS, None), precision)
    return Sample(codec, values.view(np.uint8))


def top_k(recovery: Recovery = Recovery.SPREAD, k: int = 3, count: int = 9) -> Sample:
    generator = np.random.default_rng(2)
    ids = np.stack([generator.permutation(NUM_CLASSES)[:k] for _ in range(count)]).astype("<u2")
    probabilities = (generator.dirichlet(np.ones(k), count) * 0.9).astype("<f2")
    rows = np.concatenate([ids.view(np.uint8), probabilities.view(np.uint8)], axis=1)
    header = CodecHeader(NUM_CLASSES, LabelKind.PROBABILITIES, AT_ONE)
    return Sample(TopKCodec(header, k, recovery), rows)


def vqae(
    codebook_size: int = 256,
    hidden: tuple[int, ...] = (6,),
    precision: Precision = Precision.FP16,
    codes: int = 3,
    count: int = 9,
    temperatures: TemperatureRange = AT_ONE,
) -> Sample:
    generator = np.random.default_rng(3)
    shape = VqaeShape(codes, codebook_size, 2, hidden, precision)

    def stored(*sides: int) -> NDArray[Any]:
        return generator.normal(0, 1, sides).astype(precision.dtype)

    codec = VqaeCodec(
        CodecHeader(NUM_CLASSES, LabelKind.LOGITS, temperatures),
        shape,
        stored(codes, codebook_size, 2),
        [(stored(out, into), stored(out)) for into, out in shape.layer_widths(NUM_CLASSES)],
    )
    drawn = generator.integers(0, codebook_size, (count, codes))
    return Sample(codec, pack_codes(drawn, bits=shape.bits))


@dataclass(frozen=True)
class ConditionedSample:
    codec: VqaeCodec
    rows: Rows
    context: Rows

    @property
    def artifact(self) -> bytes:
        return write_artifact(self.codec, self.rows[:4], self.context[:4])


def random_context(num_classes: int, count: int, generator: np.random.Generator) -> Rows:
    """Context rows of no views: uint8, shape (count, stride)."""
    geometry = generator.uniform(-1, 1, (count, GEOMETRY_WIDTH)).astype(np.float32)
    geometry[:, -1] = generator.uniform(0, 1, count)
    classes = generator.integers(0, num_classes, (count, 2))
    return Context(classes, geometry).pack()


def conditioned(
    codes: int = 3,
    codebook_size: int = 256,
    hidden: tuple[int, ...] = (6,),
    precision: Precision = Precision.FP16,
    class_width: int = 3,
    count: int = 9,
) -> ConditionedSample:
    generator = np.random.default_rng(4)
    shape = VqaeShape(codes, codebook_size, 2, hidden, precision, ContextShape(class_width))

    def stored(*sides: int) -> NDArray[Any]:
        return generator.normal(0, 1, sides).astype(precision.dtype)

    codec = VqaeCodec(
        CodecHeader(NUM_CLASSES, LabelKind.LOGITS, AT_ONE),
        shape,
        stored(codes, codebook_size, 2),
        [(stored(out, into), stored(out)) for into, out in shape.layer_widths(NUM_CLASSES)],
        stored(NUM_CLASSES, class_width),
    )
    drawn = generator.integers(0, codebook_size, (count, codes))
    context = random_context(NUM_CLASSES, count, generator)
    return ConditionedSample(codec, pack_codes(drawn, bits=shape.bits), context)


CONDITIONED = {
    "one layer": conditioned(hidden=()),
    "hidden": conditioned(),
    "deep": conditioned(hidden=(5, 4)),
    "fp32": conditioned(precision=Precision.FP32),
    "codes of 3 bits": conditioned(codebook_size=5),
    "codes of 10 bits": conditioned(codebook_size=1000, codes=5),
    "codes of 16 bits": conditioned(codebook_size=65536),
    "no codes": conditioned(codes=0),
    "no codes of 3 bits": conditioned(codes=0, codebook_size=5),
    "no codes of 16 bits": conditioned(codes=0, codebook_size=65536),
}
SAMPLES = {
    "raw-fp16": raw(),
    "raw-fp32": raw(Precision.FP32),
    "topk-spread": top_k(),
    "topk-renormalise": top_k(Recovery.RENORMALISE),
    "topk-all": top_k(k=NUM_CLASSES),
    "vqae": vqae(),
    "vqae-no-hidden": vqae(hidden=()),
    "vqae-deep": vqae(hidden=(5, 4)),
    "vqae-5": vqae(codebook_size=5),
    "vqae-1000": vqae(codebook_size=1000, codes=5),
    "vqae-65536": vqae(codebook_size=65536),
    "vqae-fp32": vqae(precision=Precision.FP32),
}
