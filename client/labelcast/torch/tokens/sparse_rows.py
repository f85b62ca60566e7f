"""`SparseRows`: labels that name a few tokens, on a torch device."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from labelcast.errors import CodecFormatError, CodeRangeError, LabelValueError

Part = slice | Tensor
"""Some tokens of a batch: a slice, or an int64 tensor of their places."""


@dataclass(frozen=True, eq=False, slots=True)
class SparseRows:
    """As `labelcast.codec.SparseLabels`, in tensors.

    Attributes:
        ids: int64, shape (N, k): tokens, distinct within a row but for unused places.
        probabilities: float, shape (N, k): theirs; 0 in unused places.
        rest: float, shape (N,): probability of each token that is not named; 0 for none.
        named: bool, shape (N, k): which places are used.
        lumped: whether the tokens that are not named are one outcome, whose probability is what
            the named ones leave.
    """

    ids: Tensor
    probabilities: Tensor
    rest: Tensor
    named: Tensor
    lumped: bool

    @classmethod
    def of(cls, ids: Tensor, probabilities: Tensor, rest: Tensor, *, lumped: bool) -> Self:
        """Take over labels, whose unused places may name any token.

        Args:
            ids: int64, shape (N, k).
            probabilities: float, shape (N, k).
            rest: float, shape (N,).
            lumped: see the class.

        Raises:
            CodecFormatError: shapes or types that are none of labels.
        """
        if ids.ndim != 2 or probabilities.shape != ids.shape or rest.shape != ids.shape[:1]:
            raise CodecFormatError(
                f"ids of shape {tuple(ids.shape)}, probabilities of {tuple(probabilities.shape)}"
                f" and rest of {tuple(rest.shape)} are not labels; give (N, k), (N, k) and (N,)"
            )
        named = probabilities > 0
        # Unused places name the likeliest token again, so that writing there what is there already
        # changes nothing.
        likeliest = ids.gather(1, probabilities.argmax(dim=1, keepdim=True))
        return cls(ids.where(named, likeliest), probabilities, rest, named, lumped)

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, dtype: torch.dtype) -> "SparseRows":
        """The same labels, computed in another precision."""
        probabilities, rest = self.probabilities.to(dtype), self.rest.to(dtype)
        return SparseRows(self.ids, probabilities, rest, self.named, self.lumped)

    def at(self, part: Part) -> "SparseRows":
        """Labels of some tokens."""
        ids, probabilities, named = self.ids[part], self.probabilities[part], self.named[part]
        return SparseRows(ids, probabilities, self.rest[part], named, self.lumped)

    def dense(self, vocabulary: int) -> Tensor:
        """Probabilities of all tokens: shape (N, V), newly allocated."""
        labels = self.rest[:, None].repeat(1, vocabulary)
        likeliest = self.probabilities.amax(dim=1, keepdim=True)
        return labels.scatter_(1, self.ids, self.probabilities.where(self.named, likeliest))

    def check(self, vocabulary: int) -> None:
        """Refuse what are no labels over a vocabulary; decoders have done so already.

        Args:
            vocabulary: tokens, V.

        Raises:
            CodeRangeError: a token outside the vocabulary.
            CodecFormatError: a token that a row names twice.
            LabelValueError: values that are no probabilities, or a row that names no token.
        """
        used = self.ids.where(self.named, -1)
        in_order = used.sort(dim=1).values
        twice = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)
        valid = torch.isfinite(self.probabilities) & (self.probabilities >= 0)
        valid_rest = torch.isfinite(self.rest) & (self.rest >= 0)
        # One transfer for all findings: each would stall the device by itself.
        outside, repeated, right = torch.stack(
            [
                ((self.ids < 0) | (self.ids >= vocabulary)).any(),
                twice.any(),
                valid.all() & valid_rest.all() & self.named.any(dim=1).all(),
            ]
        ).tolist()
        if outside:
            raise CodeRangeError(f"a token ID is outside the vocabulary of {vocabulary} tokens")
        if repeated:
            raise CodecFormatError("a row names one token twice")
        if not right:
            raise LabelValueError(
                "token probabilities are not finite, negative, or a row names no token"
            )
