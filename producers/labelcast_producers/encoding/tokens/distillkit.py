"""Logits → rows of the `distillkit` codec, as DistillKit lays them out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Rows
from labelcast.codec.ranking import in_order
from labelcast.codec.sparse.distillkit import DistillKitCodec, ResidualBin, Settings
from labelcast.codec.sparse.distillkit.decompress import as_stored, fitted, term_values
from labelcast.errors import LabelValueError
from labelcast_producers.encoding.tokens.base import Positions, SampleIds, Takes, TokenEncoder
from labelcast_producers.encoding.tokens.softmax import temperature_of, top_classes


def recommended(d: int) -> Settings:
    """The settings that DistillKit's README recommends, for a vocabulary of d."""
    return Settings(
        d=d,
        k=128,
        exact_k=16,
        exact_dtype="bfloat16",
        polynomial_terms=(0, 1, 2, 3, 4, "sqrt"),
        term_dtype="float32",
        residual_bins=(),
        delta_encoding=False,
        normalize_t=False,
    )


class DistillKitEncoder(TokenEncoder):
    """Keeps the k likeliest tokens: some exactly, a polynomial through the others."""

    takes = Takes.LOGITS
    codec: DistillKitCodec

    def __init__(self, codec: DistillKitCodec) -> None:
        super().__init__(codec)
        settings = codec.settings
        # Least squares: coefficients = tail · fit. Without a tail, they are 0.
        self._fit = np.zeros((settings.tail, len(settings.polynomial_terms)))
        if self._fit.size:
            self._fit = np.linalg.pinv(term_values(settings).astype(np.float64)).T

    @property
    def width(self) -> int:
        """Tokens of the vocabulary, V."""
        return self.codec.header.num_classes

    def _encode(
        self, values: NDArray[np.float32], sample_ids: SampleIds, positions: Positions
    ) -> Rows:
        settings = self.codec.settings
        top = top_classes(values, temperature_of(self.codec.header), settings.k)
        few = (top.probabilities == 0).any(axis=1)
        if few.any():
            first = int(np.argmax(few))
            raise LabelValueError(
                f"distillkit names {settings.k} tokens, and after position {positions[first]} of"
                f" sample {sample_ids[first]} fewer have a probability; choose a smaller k, or"
                " another codec"
            )
        ids, logs = in_order(top.ids, np.log(top.probabilities))
        pieces = [*self._values(logs), _highest_first(ids, settings.index_bits)]
        rows = np.concatenate(pieces, axis=1)
        self.codec.check_rows(rows)
        return rows

    def _values(self, logs: NDArray[np.float64]) -> Iterator[Rows]:
        settings = self.codec.settings
        if settings.delta_encoding:
            logs = np.concatenate([logs[:, :1], np.diff(logs, axis=1)], axis=1)
        yield _floats(logs[:, : settings.exact_k], settings.exact_dtype)
        tail = logs[:, settings.exact_k :]
        if settings.polynomial_terms:
            # Not by matmul, whose last bits may differ with the number of rows.
            coefficients = as_stored(np.einsum("nt,tc->nc", tail, self._fit), settings.term_dtype)
            yield _floats(coefficients, settings.term_dtype)
            tail = tail - fitted(coefficients, settings)
        start = 0
        for each in settings.residual_bins:
            stop = start + each.num_elements
            yield from _binned(tail[:, start:stop], each)
            start = stop


def _binned(residuals: NDArray[np.float64], each: ResidualBin) -> Iterator[Rows]:
    """Scale and levels of a bin; the scale covers the largest residual, but of one bit the mean."""
    sizes = np.abs(residuals)
    most = 1 if each.element_bits == 1 else 2 ** (each.element_bits - 1) - 1
    wanted = sizes.mean(axis=1) if each.element_bits == 1 else sizes.max(axis=1) / most
    scales = as_stored(wanted, each.scale_dtype)
    yield _floats(scales[:, None], each.scale_dtype)
    if each.element_bits == 1:
        levels = (residuals > 0).astype(np.int64)
    else:
        signed = np.rint(residuals / np.where(scales > 0, scales, 1)[:, None]).clip(-most, most)
        levels = signed.astype(np.int64) + most + 1
    yield _highest_first(levels, each.element_bits)


def _floats(values: NDArray[Any], name: str) -> Rows:
    """Bytes of numbers, rounded to a type: uint8, shape (n, count * bytes)."""
    stored = as_stored(values, name)
    if name == "bfloat16":
        packed = (np.ascontiguousarray(stored).view(np.uint32) >> 16).astype("<u2")
    else:
        packed = np.ascontiguousarray(stored.astype(np.dtype(name).newbyteorder("<")))
    width = values.shape[1] * packed.dtype.itemsize
    return packed.view(np.uint8).reshape(len(values), width)


def _highest_first(numbers: NDArray[np.int64], bits: int) -> Rows:
    """Integers without gaps, the highest bit first; filled up with zeros."""
    planes = (numbers[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    flat = planes.astype(np.uint8).reshape(len(numbers), numbers.shape[1] * bits)
    return np.packbits(flat, axis=1)
