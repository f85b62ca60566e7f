"""Uniform quantization: every class keeps a few bits, each label its own scale and offset."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.codec.contract import BenchmarkCodec, FitInput, Packed, Values
from benchmarks.codec.fidelity import choose_best
from labelcast.codec import pack_codes, unpack_codes
from labelcast_producers.fitting.sampling import RowNumbers

# Logits further below the greatest are raised to it: a coarse grid is for what has probability.
_RANGES = (4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, math.inf)


class Uniform(BenchmarkCodec):
    """Logits on an even grid; fp16 step and fp16 offset lead each row."""

    def __init__(self, num_classes: int, *, bits: int, reach: float) -> None:
        super().__init__()
        self._num_classes = num_classes
        self._bits = bits
        self._reach = reach

    def encode(self, labels: NDArray[Any], rows: RowNumbers) -> Packed:
        values = np.asarray(labels, dtype=np.float32)
        values = np.maximum(values, values.max(axis=1, keepdims=True) - np.float32(self._reach))
        low = values.min(axis=1, keepdims=True)
        span = values.max(axis=1, keepdims=True) - low
        levels = 2**self._bits - 1
        head = np.concatenate([span / levels, low], axis=1).astype("<f2")
        step, offset = np.split(head.astype(np.float32), 2, axis=1)
        # A label without any difference between classes has no step.
        grid = np.rint((values - offset) / np.where(step > 0, step, 1))
        codes = np.clip(grid, 0, levels).astype(np.uint32)
        return np.concatenate([head.view(np.uint8), pack_codes(codes, bits=self._bits)], axis=1)

    def decode(self, packed: Packed, rows: RowNumbers) -> Values:
        head = np.ascontiguousarray(packed[:, :4]).view("<f2").astype(np.float32)
        body = np.ascontiguousarray(packed[:, 4:])
        codes = unpack_codes(body, bits=self._bits, count=self._num_classes)
        decoded: Values = codes.astype(np.float32) * head[:, :1] + head[:, 1:]
        return decoded


def fit_uniform(given: FitInput, *, bits: int) -> BenchmarkCodec:
    """The best range at so many bits a class."""
    classes = given.task.num_classes
    candidates: dict[str, BenchmarkCodec] = {
        f"range-{reach:g}": Uniform(classes, bits=bits, reach=reach) for reach in _RANGES
    }
    return choose_best(candidates, given.task)
