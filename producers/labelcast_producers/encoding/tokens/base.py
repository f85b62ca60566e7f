"""The contract of every encoder of token labels.

Shape letters: `T` tokens, `V` tokens of the vocabulary, `d` width of hidden states.
"""

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Codec, Rows
from labelcast.errors import LabelValueError

SampleIds = NDArray[np.uint64]
Positions = NDArray[np.uint32]


class Takes(StrEnum):
    """What an encoder makes rows of."""

    STATES = "states"
    """Hidden states after the final norm, to which the head is applied: shape (T, d)."""
    LOGITS = "logits"
    """What the head makes of them, with bias, scale and soft-capping, without padding: (T, V)."""


class TokenEncoder(ABC):
    """Makes packed rows of a teacher's exact predictions.

    A row depends on nothing but its own values, sample ID and position: neither on its neighbours
    nor on how tokens are cut into blocks. Encoding again gives the same bytes.

    Attributes:
        codec: codec of the rows.
    """

    takes: ClassVar[Takes]

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    @property
    @abstractmethod
    def width(self) -> int:
        """Columns of the values that `encode` takes: d of states, V of logits."""

    def encode(
        self, values: NDArray[np.float32], *, sample_ids: SampleIds, positions: Positions
    ) -> Rows:
        """Encode the predictions after some tokens.

        Args:
            values: float32, shape (T, d) or (T, V), as `takes` says. A logit may be -inf: that
                token has the probability 0.
            sample_ids: uint64, shape (T,); sequence of each token.
            positions: uint32, shape (T,); its place in the sequence, from 0 on.

        Returns:
            uint8, shape (T, row_stride), newly allocated.

        Raises:
            LabelValueError: the values have another shape, are not finite, or leave no token with a
                probability; says at which sample and position.
        """
        if values.dtype != np.float32 or values.shape != (len(sample_ids), self.width):
            raise LabelValueError(
                f"{self.codec.name} encodes float32 {self.takes} of shape ({len(sample_ids)},"
                f" {self.width}), got {values.dtype} of shape {values.shape}"
            )
        if sample_ids.shape != positions.shape:
            raise LabelValueError(
                f"{len(values)} tokens have {len(sample_ids)} sample IDs and {len(positions)}"
                " positions"
            )
        wrong = self._unusable(values)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise LabelValueError(
                f"the teacher gives {self.takes} that are not finite after position"
                f" {positions[first]} of sample {sample_ids[first]}"
            )
        return self._encode(values, sample_ids, positions)

    def _unusable(self, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Rows that say nothing: shape (T,)."""
        # The largest logit is NaN or +inf if any is, and -inf if all are.
        said = values if self.takes is Takes.STATES else values.max(axis=1, keepdims=True)
        unusable: NDArray[np.bool_] = np.logical_or.reduce(~np.isfinite(said), axis=1)
        return unusable

    @abstractmethod
    def _encode(
        self, values: NDArray[np.float32], sample_ids: SampleIds, positions: Positions
    ) -> Rows:
        """Encode checked values."""
