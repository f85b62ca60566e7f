"""Label sets whose every row spells its own name: label set, sample, seed.

`raw` sets hold the numbers themselves. A `vqae` decodes codes that are the digits of its row's
number: codebooks, weights and biases are small integers, so that every product and every sum is an
integer below 2048, exact in fp16 and fp32 in whatever order a device adds them up.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.generated_label_set import write_generated
from labelcast import LabelKind, Precision, Views
from labelcast.augmentation import AugmentationPolicy
from labelcast.codec import (
    Codec,
    CodecHeader,
    RawCodec,
    TemperatureRange,
    VqaeCodec,
    VqaeShape,
    pack_codes,
    unpack_codes,
)
from labelcast.label_set_directory import LabelSetDirectory

TEMPERATURE = 256.0
"""High enough that softmax keeps every class of labels that reach 2047 apart."""

FIRST_SAMPLE_ID = 10**12
_DIGITS, _BASE = 3, 64
_SHAPE = VqaeShape(codes=_DIGITS + 1, codebook_size=_BASE, codeword_width=2, hidden=(8,))
# Digits of the row's number, then the label set's.
_SPELLED = _DIGITS + 1

Kind = Literal["raw", "vqae"]


@dataclass(frozen=True)
class SpelledSet:
    """A label set that is known from its parameters alone, in every process.

    Attributes:
        tag: where it is published.
        kind: codec.
        number: 1 to 63; every row says it.
        num_samples: at most 2048.
        num_seeds: at most 2048.
        num_classes: C, at least 4.
        sample_step: how far sample IDs are apart.
    """

    tag: str
    kind: Kind
    number: int
    num_samples: int
    num_seeds: int
    num_classes: int
    sample_step: int = 7
    seed_step: ClassVar[int] = 3

    def __len__(self) -> int:
        return self.num_samples * self.num_seeds

    @cached_property
    def codec(self) -> Codec:
        """Raw values in fp16, or the network of integers."""
        if self.kind == "raw":
            header = CodecHeader(self.num_classes, LabelKind.LOGITS, None)
            return RawCodec(header, Precision.FP16)
        header = CodecHeader(self.num_classes, LabelKind.LOGITS, TemperatureRange(1.0, 1024.0))
        digit = np.arange(_BASE)
        book = np.stack([digit, _BASE - 1 - digit], axis=1)
        codebooks = np.repeat(book[None], _SHAPE.codes, axis=0).astype(np.float16)
        (hidden, _), (_, classes) = _SHAPE.layer_widths(self.num_classes)
        # Units 2m pass digit m on; units 2m + 1 give ReLU(32 - digit m).
        first = np.eye(hidden, dtype=np.float16)
        first_bias = np.tile([0, -31], hidden // 2).astype(np.float16)
        random = np.random.default_rng(self.number)
        weight = random.integers(-2, 3, size=(classes, hidden))
        bias = random.integers(-100, 101, size=classes)
        weight[:_SPELLED] = 0
        weight[range(_DIGITS), range(0, 2 * _DIGITS, 2)] = 1
        bias[:_SPELLED] = [0] * _DIGITS + [self.number]
        layers = [
            (first, first_bias),
            (weight.astype(np.float16), bias.astype(np.float16)),
        ]
        return VqaeCodec(header, _SHAPE, codebooks, layers)

    @cached_property
    def rows(self) -> NDArray[np.uint8]:
        """Packed rows of every view: uint8, shape (N, stride)."""
        number = np.arange(len(self))
        if self.kind == "vqae":
            digits = number[:, None] // _BASE ** np.arange(_DIGITS) % _BASE
            check = (7 * number + 5 * self.number) % _BASE
            codes = np.column_stack([digits, check]).astype(np.uint32)
            return pack_codes(codes, bits=_SHAPE.bits)
        samples, seeds = self.samples_and_seeds(number)
        values = np.empty((len(self), self.num_classes), dtype="<f2")
        values[:, 0], values[:, 1], values[:, 2] = self.number, samples, seeds
        classes = np.arange(3, self.num_classes)
        step = 31 * self.number + 2 * classes + 1
        values[:, 3:] = (number[:, None] * step[None]) % 2048
        return values.view(np.uint8).reshape(len(self), -1)

    def samples_and_seeds(
        self, at: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which sample and which seed of it rows number `at` are of, counted from 0."""
        seeds, samples = np.divmod(at, self.num_samples)
        return samples, seeds

    def numbers(self, samples: NDArray[np.int64], seeds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row numbers: the inverse of `samples_and_seeds`; -1 where there is none."""
        return seeds * self.num_samples + samples

    def views(self, at: NDArray[np.int64]) -> Views:
        """The views that rows number `at` belong to."""
        samples, seeds = self.samples_and_seeds(at)
        return Views(
            (FIRST_SAMPLE_ID + self.sample_step * samples).astype(np.uint64),
            (self.seed_step * seeds).astype(np.uint32),
        )

    def at(self, views: Views) -> NDArray[np.int64]:
        """The row numbers of views: the inverse of `views`."""
        samples = (views.sample_ids - np.uint64(FIRST_SAMPLE_ID)) // np.uint64(self.sample_step)
        seeds = views.seeds.astype(np.int64) // self.seed_step
        return self.numbers(samples.astype(np.int64), seeds)

    def logits(self, at: NDArray[np.int64]) -> NDArray[np.float32]:
        """Integers, exact: float32, shape (n, C)."""
        return self.codec.decode(self.rows[at])

    def name_of(self, row: NDArray[np.uint8], precision: Precision | None) -> tuple[int, int]:
        """Label set and row number that a row of codes (precision None) or logits spells."""
        if self.kind == "vqae" and precision is None:
            codes = unpack_codes(row[None], bits=_SHAPE.bits, count=_SHAPE.codes)[0].tolist()
            digits, check = codes[:_DIGITS], codes[_DIGITS]
            number = sum(digit * _BASE**place for place, digit in enumerate(digits))
            return int(13 * (check - 7 * number) % _BASE), number  # 13 * 5 = 1 modulo 64
        dtype = Precision.FP16.dtype if precision is None else precision.dtype
        values = np.ascontiguousarray(row).view(dtype)
        spelled = [int(value) if np.isfinite(value) else -1 for value in values[:_SPELLED]]
        if self.kind == "raw":
            (number,) = self.numbers(np.array(spelled[1:2]), np.array(spelled[2:3])).tolist()
            return spelled[0], number
        number = sum(digit * _BASE**place for place, digit in enumerate(spelled[:_DIGITS]))
        return spelled[_DIGITS], number

    def write(self, directory: Path) -> LabelSetDirectory:
        """Write it as `encode` would."""
        samples = np.arange(self.num_samples, dtype=np.uint64)
        return write_generated(
            directory,
            self.codec,
            [self.rows],
            sample_ids=self.views(samples.astype(np.int64)).sample_ids,
            seeds=self.seed_step * np.arange(self.num_seeds, dtype=np.uint32),
            teacher=self.tag,
            teacher_name=f"integers of {self.tag}",
            dataset="integers",
            hard_labels=np.arange(self.num_samples) % self.num_classes,
            policy=AugmentationPolicy(view_height=8, view_width=8, key=7),
        )


def softmax(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Over classes, in double precision."""
    powers: NDArray[np.float64] = np.exp(logits.astype(np.float64) / temperature)
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def as_row_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Rows of values as the bytes that are delivered."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
