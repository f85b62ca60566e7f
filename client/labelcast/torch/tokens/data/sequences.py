"""`TokenSequences`: the token sequences that a student reads."""

from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.errors import InvalidRequestError
from labelcast.views import Views

_MAX_TOKEN = 2**32 - 1


class TokenSequences:
    """Samples of a language data set, one behind the other in one array.

    Args:
        sample_ids: integers, shape (S,): stable IDs, those of the label set; each once.
        tokens: integers, shape (N,): tokens of all samples; may be a mapped file.
        lengths: integers, shape (S,): tokens of each sample, at least one.
        counted: bool, shape (N,): positions whose labels count; False for those of a prompt. None
            if all do.

    Attributes:
        sample_ids: uint64, shape (S,).
        tokens: as given.
        lengths: int64, shape (S,).
        offsets: int64, shape (S + 1,): where each sample begins in `tokens`.
        counted: bool, shape (N,), or None.

    Raises:
        InvalidRequestError: an empty sample, an ID twice, or columns that do not fit each other.
    """

    def __init__(
        self,
        sample_ids: ArrayLike,
        tokens: NDArray[np.integer],
        lengths: ArrayLike,
        counted: NDArray[np.bool_] | None = None,
    ) -> None:
        self.sample_ids = Views.of(sample_ids, 0).sample_ids
        # Checked as what they are: integers from 0 on.
        self.lengths = Views.of(lengths, 0).sample_ids.astype(np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.tokens, self.counted = tokens, counted
        self._check()

    @classmethod
    def of(
        cls,
        sequences: Iterable[ArrayLike],
        *,
        sample_ids: ArrayLike | None = None,
        counted: Iterable[ArrayLike] | None = None,
    ) -> Self:
        """Sequences in memory, such as a tokenizer's.

        Args:
            sequences: token IDs of each sample.
            sample_ids: integers, shape (S,); their places, 0, 1, …, by default.
            counted: bool for each token of each sample: whether its label counts.

        Raises:
            InvalidRequestError: as of the class.
        """
        parts = [_token_ids(part) for part in sequences]
        marks = None if counted is None else [_marks(part) for part in counted]
        if marks is not None and [len(part) for part in marks] != [len(part) for part in parts]:
            raise InvalidRequestError(
                "counted says of other tokens than the sequences have; give one bool for each token"
                " of each sequence"
            )
        return cls(
            np.arange(len(parts)) if sample_ids is None else sample_ids,
            np.concatenate([*parts, np.empty(0, np.uint32)]),
            [len(part) for part in parts],
            None if marks is None else np.concatenate([*marks, np.empty(0, np.bool_)]),
        )

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __repr__(self) -> str:
        return f"<TokenSequences: {len(self):,} samples, {len(self.tokens):,} tokens>"

    def part(self, sample: int, first: int = 0, length: int | None = None) -> NDArray[np.uint32]:
        """Tokens of one sample, or of a part of it: uint32, newly allocated.

        Args:
            sample: its place among the samples.
            first: position to begin with.
            length: number of tokens; None for all that follow.
        """
        start, end = int(self.offsets[sample]) + first, int(self.offsets[sample + 1])
        stop = end if length is None else start + length
        return np.array(self.tokens[start:stop]).astype(np.uint32)

    def _check(self) -> None:
        if len(self.lengths) != len(self.sample_ids) or not len(self):
            raise InvalidRequestError(
                f"{len(self.sample_ids)} sample IDs and {len(self.lengths)} lengths; give one of"
                " each for every sample, and at least one sample"
            )
        if len(np.unique(self.sample_ids)) != len(self):
            raise InvalidRequestError("two samples have one ID; give each an ID of its own")
        if (self.lengths == 0).any():
            empty = self.sample_ids[np.argmin(self.lengths)]
            raise InvalidRequestError(
                f"sample {empty} has no tokens; leave empty sequences out, here and where labels"
                " are made"
            )
        tokens = np.asanyarray(self.tokens)
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or len(tokens) != self.offsets[-1]:
            raise InvalidRequestError(
                f"tokens are {tokens.dtype} of shape {tokens.shape}; give integers of shape"
                f" ({self.offsets[-1]},), the sum of the lengths"
            )
        marks = self.counted
        if marks is not None and (marks.dtype != np.bool_ or marks.shape != tokens.shape):
            raise InvalidRequestError(
                f"counted is {marks.dtype} of shape {marks.shape}; give a bool for each token"
            )


def _token_ids(sequence: ArrayLike) -> NDArray[np.uint32]:
    ids = np.asarray(sequence)
    if ids.size and (ids.ndim != 1 or ids.dtype.kind not in "iu"):
        raise InvalidRequestError(
            f"a sequence is {ids.dtype} of shape {ids.shape}; give each as integers of shape (n,)"
        )
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) <= _MAX_TOKEN:
        raise InvalidRequestError("a token ID is below 0 or above 2³²; give what a tokenizer gives")
    return ids.reshape(-1).astype(np.uint32)


def _marks(part: ArrayLike) -> NDArray[np.bool_]:
    marks = np.asarray(part)
    # A column of labels, in which -100 stands for "ignored", would count every token.
    if marks.size and marks.dtype != np.bool_ and not np.isin(marks, (0, 1)).all():
        raise InvalidRequestError(
            "counted says True or False of each token; of a column of labels give labels != -100"
        )
    return marks.astype(np.bool_)
