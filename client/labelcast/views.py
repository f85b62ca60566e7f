"""`Views`: which labels are requested, as two columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.errors import InvalidRequestError

MAX_SEED = 2**32 - 1
MAX_SPAN = 2**24
"""Views of one span: far more than any sequence has, and few enough to be made by mistake."""
_SHOWN = 3

Column = TypeVar("Column", bound=np.generic)

Rows: TypeAlias = NDArray[np.uint8]
"""Packed rows, one for each of N views: shape (N, stride)."""


@dataclass(frozen=True, eq=False, slots=True)
class Views:
    """An ordered batch of views, the unit of every request; nobody can change it afterwards.

    Columns that somebody could write to are copied: a buffer that is used again would otherwise ask
    for other views than those that its labels are given for.

    Attributes:
        sample_ids: uint64, shape (N,).
        seeds: uint32, shape (N,); the augmentation seed of each row.
    """

    sample_ids: NDArray[np.uint64]
    seeds: NDArray[np.uint32]

    def __post_init__(self) -> None:
        ids, seeds = self.sample_ids, self.seeds
        if ids.dtype != np.uint64 or seeds.dtype != np.uint32:
            raise InvalidRequestError(
                f"views need uint64 sample IDs and uint32 seeds, got {ids.dtype} and {seeds.dtype};"
                " build them with Views.of(sample_ids, seeds)"
            )
        if ids.ndim != 1 or ids.shape != seeds.shape:
            raise InvalidRequestError(
                f"views need two columns of one length, got shapes {ids.shape} and {seeds.shape};"
                " pairs become two columns with Views.of(*zip(*pairs))"
            )
        object.__setattr__(self, "sample_ids", _unchanging(ids))
        object.__setattr__(self, "seeds", _unchanging(seeds))

    @classmethod
    def of(cls, sample_ids: ArrayLike, seeds: ArrayLike) -> "Views":
        """Build views from anything array-like; one seed for all samples may be a scalar.

        Args:
            sample_ids: non-negative integers, shape (N,).
            seeds: non-negative integers below 2**32, shape (N,) or scalar.

        Raises:
            InvalidRequestError: a value is not an integer, is negative or does not fit.
        """
        if isinstance(sample_ids, Views):
            raise InvalidRequestError(
                "these are Views already, with their seeds; give sample_ids=views.sample_ids and"
                " seeds=views.seeds"
            )
        ids = _unsigned(sample_ids, np.iinfo(np.uint64).max, "a sample ID").astype(np.uint64)
        seed_column = _unsigned(seeds, MAX_SEED, "an augmentation seed").astype(np.uint32)
        if seed_column.ndim == 0:
            seed_column = np.full(ids.shape, seed_column, dtype=np.uint32)
        return cls.taking(np.atleast_1d(ids), np.atleast_1d(seed_column))

    @classmethod
    def of_spans(cls, sample_ids: ArrayLike, firsts: ArrayLike, lengths: ArrayLike) -> "Views":
        """Build views of consecutive positions of sequences, whose seeds are positions.

        Args:
            sample_ids: non-negative integers, shape (S,).
            firsts: position of the first view of each span: shape (S,), or one for all.
            lengths: views of each span, 1 to 2²⁴: shape (S,), or one for all.

        Returns:
            Span after span, each from its first position on: as many views as lengths add up to.

        Raises:
            InvalidRequestError: a value is no non-negative integer, a span is empty, or a position
                does not fit 32 bits.
        """
        starts = cls.of(sample_ids, firsts)
        counts = _unsigned(lengths, MAX_SPAN, "a span's length").astype(np.int64)
        if counts.ndim and counts.shape != starts.sample_ids.shape:
            raise InvalidRequestError(
                f"{len(starts)} spans need a length each, or one for all, got shape {counts.shape}"
            )
        counts = np.broadcast_to(counts, starts.sample_ids.shape)
        if (counts < 1).any():
            raise InvalidRequestError("a span has at least one view; leave empty ones out")
        if (starts.seeds + counts > MAX_SEED + 1).any():
            raise InvalidRequestError(f"a span ends beyond position {MAX_SEED}")
        ends = np.cumsum(counts)
        positions = np.arange(ends[-1] if len(ends) else 0)
        positions += np.repeat(starts.seeds - (ends - counts), counts)
        return cls.taking(np.repeat(starts.sample_ids, counts), positions.astype(np.uint32))

    @classmethod
    def taking(cls, sample_ids: NDArray[np.uint64], seeds: NDArray[np.uint32]) -> "Views":
        """Build views of columns that were made for them, which nobody else writes to: no copies.

        Raises:
            InvalidRequestError: as of the columns themselves.
        """
        for column in (sample_ids, seeds):
            column.flags.writeable = False
        return cls(sample_ids, seeds)

    @classmethod
    def joined(cls, parts: Sequence["Views"]) -> "Views":
        """One after the other; of a single part, the part itself."""
        if len(parts) == 1:
            return parts[0]
        return cls.taking(
            np.concatenate([views.sample_ids for views in parts]),
            np.concatenate([views.seeds for views in parts]),
        )

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Views):
            return NotImplemented
        same_ids = np.array_equal(self.sample_ids, other.sample_ids)
        return same_ids and np.array_equal(self.seeds, other.seeds)

    # Equal by their values, which are too many to hash.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = [f"{sample}@{seed}" for sample, seed in zip(*self._first(), strict=True)]
        more = ["…"] if len(self) > len(shown) else []
        return f"<Views of {len(self)}: {', '.join([*shown, *more])}>"

    def _first(self) -> tuple[list[int], list[int]]:
        return self.sample_ids[:_SHOWN].tolist(), self.seeds[:_SHOWN].tolist()

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> "Views":
        return Views.taking(self.sample_ids[rows], self.seeds[rows])

    def batches(self, size: int) -> Iterator["Views"]:
        """Cut into consecutive views of at most `size` rows.

        Raises:
            InvalidRequestError: a size below 1.
        """
        if size < 1:
            raise InvalidRequestError(f"a batch has at least one view, not {size}")
        for start in range(0, len(self), size):
            yield self[start : start + size]


def _unchanging(column: NDArray[Column]) -> NDArray[Column]:
    """The column itself if nobody can write to it, else a copy of which that is so."""
    base = column.base
    if column.flags.writeable or (isinstance(base, np.ndarray) and base.flags.writeable):
        column = column.copy()
        column.flags.writeable = False
    return column


def check_batches(value: object) -> None:
    """Refuse one batch of views where many are asked for.

    Raises:
        InvalidRequestError: says how to cut it.
    """
    if isinstance(value, Views):
        raise InvalidRequestError(
            "these are views of one batch where batches are asked for; give views.batches(size)"
        )


def check_views(value: object) -> None:
    """Refuse what is no `Views`.

    Raises:
        InvalidRequestError: says how to build them.
    """
    if not isinstance(value, Views):
        raise InvalidRequestError(
            f"views must be Views, not {type(value).__name__};"
            " build them with Views.of(sample_ids, seeds), of pairs with Views.of(*zip(*pairs))"
        )


def check_batch(value: object) -> None:
    """Refuse what is no `Views`, or has none.

    Raises:
        InvalidRequestError: as `check_views`, or the batch is empty.
    """
    check_views(value)
    if isinstance(value, Views) and not len(value):
        raise InvalidRequestError("a batch of views must not be empty")


def _unsigned(values: ArrayLike, maximum: int, what: str) -> NDArray[np.generic]:
    array = np.asarray(values)
    integers = array.dtype.kind in "iu"
    if not integers and not isinstance(values, np.ndarray):
        # numpy makes floats of a list that has integers below 2**63 and others above.
        array = np.asarray(values, dtype=object)
        integers = all(
            isinstance(value, int | np.integer) and not isinstance(value, bool)
            for value in array.flat
        )
    if array.size and not (integers and (array.dtype.kind == "u" or array.min() >= 0)):
        raise InvalidRequestError(f"{what} must be a non-negative integer")
    if array.size and int(array.max()) > maximum:
        raise InvalidRequestError(f"{what} must be at most {maximum}, got {int(array.max())}")
    return array
