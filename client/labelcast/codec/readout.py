"""What is needed of some labels, without the rest: a label of a large vocabulary is a megabyte.

Of hidden states, logits are made of a few rows and a slice of the vocabulary at a time; of rows
that name a few classes, nothing as wide as the vocabulary is ever held; others are decoded in
blocks.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.codec.base import Codec, LabelKind
from labelcast.codec.latent import LatentCodec
from labelcast.codec.ranking import in_order, largest
from labelcast.codec.sparse import SparseCodec, SparseLabels
from labelcast.errors import CodecFormatError, CodeRangeError, InvalidRequestError
from labelcast.views import Rows

Ids = NDArray[np.int64]
LogProbabilities = NDArray[np.float32]

# Values of one array that is held at a time.
_BLOCK_VALUES = 2**21
_CHECKED_ROWS = 4096


def readout(codec: Codec, rows: Rows, temperature: float = 1.0) -> "Readout":
    """Read parts of the labels of `rows`.

    Args:
        codec: codec of the rows; of hidden states, with its head.
        rows: uint8, shape (N, row_stride).
        temperature: softmax temperature of the log-probabilities.

    Raises:
        InvalidRequestError: labels are not valid at this temperature.
        CodecFormatError: the codec is conditioned on context, or lacks its head. Otherwise as
            `Codec.check_rows`.
    """
    valid = codec.header.temperatures
    # Written so that NaN fails.
    if not 0 < temperature < float("inf") or (valid is not None and temperature not in valid):
        raise InvalidRequestError(
            f"these labels are not valid at temperature {temperature}; use"
            f" {'one above 0' if valid is None else f'{valid.low} to {valid.high}'}"
        )
    if codec.context_stride:
        raise CodecFormatError(f"rows of this {codec.name} codec are read with their context alone")
    if isinstance(codec, SparseCodec):
        return _SparseReadout(codec, codec.sparse(rows))
    for start in range(0, max(1, len(rows)), _CHECKED_ROWS):
        codec.check_rows(rows[start : start + _CHECKED_ROWS])
    if isinstance(codec, LatentCodec):
        return _LatentReadout(codec, rows, temperature)
    return _DenseReadout(codec, rows, temperature)


class Readout(ABC):
    """Parts of N labels of V classes."""

    def __init__(self, codec: Codec, count: int) -> None:
        self._codec = codec
        self._vocabulary = codec.header.num_classes
        self._count = count

    def __len__(self) -> int:
        return self._count

    def top_k(self, k: int) -> tuple[Ids, LogProbabilities]:
        """The k likeliest classes of each label, the likeliest first; of equal ones, the lower ID.

        Args:
            k: how many, 1 to V.

        Returns:
            IDs, int64, and logarithms of their probabilities, float32 (-inf for 0), each of shape
            (N, k).

        Raises:
            InvalidRequestError: another k.
        """
        if not 1 <= k <= self._vocabulary:
            raise InvalidRequestError(f"a label has 1 to {self._vocabulary} classes, not {k}")
        ids = np.empty((len(self), k), dtype=np.int64)
        values = np.empty((len(self), k), dtype=np.float32)
        for part in self._blocks(k):
            ids[part], values[part] = self._top_k(part, k)
        return ids, values

    def log_probabilities_at(self, ids: ArrayLike) -> LogProbabilities:
        """Logarithms of the probabilities of some classes.

        Args:
            ids: integers below V, shape (N, m).

        Returns:
            float32, shape (N, m); -inf for a probability of 0.

        Raises:
            InvalidRequestError: another shape, or no integers.
            CodeRangeError: a class out of range.
        """
        wanted = np.asarray(ids)
        if wanted.ndim != 2 or len(wanted) != len(self) or wanted.dtype.kind not in "iu":
            raise InvalidRequestError(
                f"class IDs are integers of shape ({len(self)}, m), got {wanted.dtype} of shape"
                f" {wanted.shape}"
            )
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < self._vocabulary):
            raise CodeRangeError(
                f"class IDs {wanted.min()} to {wanted.max()} are not all below {self._vocabulary}"
            )
        wanted = wanted.astype(np.int64)
        values = np.empty(wanted.shape, dtype=np.float32)
        if not wanted.size:
            return values
        for part in self._blocks(wanted.shape[1]):
            values[part] = self._at(part, wanted[part])
        return values

    def latents(self) -> NDArray[np.float32]:
        """Hidden states: float32, shape (N, d).

        Raises:
            CodecFormatError: rows of this codec hold none.
        """
        raise CodecFormatError(f"{self._codec.name} rows hold no hidden states")

    def _blocks(self, columns: int) -> Iterator[slice]:
        step = max(1, _BLOCK_VALUES // max(1, self._work_per_row(columns)))
        for start in range(0, len(self), step):
            yield slice(start, start + step)

    @abstractmethod
    def _work_per_row(self, columns: int) -> int:
        """Values that are held for a row while so many are read."""

    @abstractmethod
    def _top_k(self, part: slice, k: int) -> tuple[Ids, LogProbabilities]: ...

    @abstractmethod
    def _at(self, part: slice, ids: Ids) -> LogProbabilities: ...


class _SparseReadout(Readout):
    def __init__(self, codec: SparseCodec, labels: SparseLabels) -> None:
        super().__init__(codec, len(labels.ids))
        self._labels = labels
        self._named: int = labels.ids.shape[1]

    def _work_per_row(self, columns: int) -> int:
        return (columns + 1) * (self._named + 1) * 2

    def _top_k(self, part: slice, k: int) -> tuple[Ids, LogProbabilities]:
        # Of the classes that a row does not name, the first k are among its first k + named.
        pool = min(self._vocabulary, k + self._named)
        ids = np.tile(np.arange(pool, dtype=np.int64), (len(self._labels.ids[part]), 1))
        values = np.repeat(self._labels.rest[part, None], pool, axis=1)
        named, probabilities = self._labels.ids[part], self._labels.probabilities[part]
        used = probabilities > 0
        row, place = np.nonzero(used & (named < pool))
        values[row, named[row, place]] = -1
        all_ids = np.concatenate([named, ids], axis=1)
        all_values = np.concatenate([np.where(used, probabilities, -1), values], axis=1)
        chosen, shares = in_order(all_ids, all_values)
        return chosen[:, :k], _logarithms(shares[:, :k])

    def _at(self, part: slice, ids: Ids) -> LogProbabilities:
        named, probabilities = self._labels.ids[part], self._labels.probabilities[part]
        matches = (ids[:, :, None] == named[:, None, :]) & (probabilities > 0)[:, None, :]
        found = np.where(matches, probabilities[:, None, :], 0).sum(axis=2)
        shares = np.where(matches.any(axis=2), found, self._labels.rest[part, None])
        return _logarithms(shares)


class _LatentReadout(Readout):
    def __init__(self, codec: LatentCodec, rows: Rows, temperature: float) -> None:
        super().__init__(codec, len(rows))
        self._latent = codec
        self._head = codec.require_head()
        self._rows = rows
        self._temperature = np.float32(temperature)
        self._slice = max(high - low for low, high in self._head.slices(0, self._vocabulary))

    def latents(self) -> NDArray[np.float32]:
        return self._latent.latents(self._rows)

    def _work_per_row(self, columns: int) -> int:
        return self._slice + columns + self._latent.width

    def _slices(self, states: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """First class and logits of every slice of the vocabulary."""
        for low, high in self._head.slices(0, self._vocabulary):
            yield low, self._head.logits(states, low, high) / self._temperature

    def _top_k(self, part: slice, k: int) -> tuple[Ids, LogProbabilities]:
        states = self._latent.latents(self._rows[part])
        total = _LogSum(len(states))
        ids = np.empty((len(states), 0), dtype=np.int64)
        values = np.empty((len(states), 0), dtype=np.float32)
        for low, logits in self._slices(states):
            total.add(logits)
            new = largest(logits, min(k, logits.shape[1]))
            ids = np.concatenate([ids, new + low], axis=1)
            values = np.concatenate([values, np.take_along_axis(logits, new, axis=1)], axis=1)
            # IDs rise, and so equal values keep their order.
            kept = largest(values, min(k, values.shape[1]))
            ids = np.take_along_axis(ids, kept, axis=1)
            values = np.take_along_axis(values, kept, axis=1)
        ids, values = in_order(ids, values)
        return ids, (values - total.value()).astype(np.float32)

    def _at(self, part: slice, ids: Ids) -> LogProbabilities:
        states = self._latent.latents(self._rows[part])
        total = _LogSum(len(states))
        for _, logits in self._slices(states):
            total.add(logits)
        chosen = self._head.logits_of(states, ids) / self._temperature
        values: LogProbabilities = (chosen - total.value()).astype(np.float32)
        return values


class _DenseReadout(Readout):
    def __init__(self, codec: Codec, rows: Rows, temperature: float) -> None:
        super().__init__(codec, len(rows))
        self._rows = rows
        self._temperature = np.float32(temperature)

    def _work_per_row(self, columns: int) -> int:
        return self._vocabulary + columns

    def _log_probabilities(self, part: slice) -> LogProbabilities:
        labels = self._codec.decode(self._rows[part])
        if self._codec.header.label_kind is LabelKind.PROBABILITIES:
            return _logarithms(labels)
        labels /= self._temperature
        total = _LogSum(len(labels))
        total.add(labels)
        values: LogProbabilities = (labels - total.value()).astype(np.float32)
        return values

    def _top_k(self, part: slice, k: int) -> tuple[Ids, LogProbabilities]:
        values = self._log_probabilities(part)
        ids = largest(values, k)
        return in_order(ids, np.take_along_axis(values, ids, axis=1))

    def _at(self, part: slice, ids: Ids) -> LogProbabilities:
        return np.take_along_axis(self._log_probabilities(part), ids, axis=1)


class _LogSum:
    """Logarithm of a sum of exponentials that come slice by slice."""

    def __init__(self, count: int) -> None:
        self._largest = np.full((count, 1), -np.inf, dtype=np.float32)
        self._sum = np.zeros((count, 1))

    def add(self, values: NDArray[np.float32]) -> None:
        """Add the exponentials of finite values: shape (N, any)."""
        larger = np.maximum(self._largest, values.max(axis=1, keepdims=True))
        self._sum *= np.exp(self._largest - larger)
        self._sum += np.exp(values - larger).sum(axis=1, keepdims=True, dtype=np.float64)
        self._largest = larger

    def value(self) -> NDArray[np.float64]:
        """float64, shape (N, 1)."""
        value: NDArray[np.float64] = np.log(self._sum) + self._largest.astype(np.float64)
        return value


def _logarithms(probabilities: NDArray[np.float32]) -> LogProbabilities:
    with np.errstate(divide="ignore"):
        return np.log(probabilities)
