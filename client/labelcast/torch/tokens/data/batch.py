"""`TokenBatch`: rows of tokens, and what each place of them is."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from labelcast.errors import InvalidRequestError
from labelcast.torch.coded_labels import CodedLabels
from labelcast.torch.data.position import Position
from labelcast.views import Views

PADDING = -1
"""Document of a place that holds no token."""
IGNORED = -100
"""Next token of a place that has none, as torch's cross-entropy ignores it."""


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class TokenRows:
    """B rows of L places, without labels.

    Attributes:
        position: place of its first row in the run.
        next_position: place of the row after its last.
        input_ids: int64, shape (B, L).
        position_ids: int64, shape (B, L): place within its document, from 0. Models of
            transformers that are given them, and no attention mask, keep documents apart.
        documents: int64, shape (B, L): which document of its row a place belongs to, from 0;
            `PADDING` where there is no token.
        counted: bool, shape (B, L): places whose labels count, T of them.
        views: T views (sample ID, position within the sample) of those places, row after row.
        repeated: bool, shape (B,): rows that come again in this epoch, so that ranks make equally
            many steps.
    """

    position: Position
    next_position: Position
    input_ids: Tensor
    position_ids: Tensor
    documents: Tensor
    counted: Tensor
    views: Views
    repeated: Tensor

    def __repr__(self) -> str:
        rows, places = self.input_ids.shape
        return f"<{type(self).__name__}: {rows} rows of {places}, {len(self.views)} labels>"

    @property
    def next_tokens(self) -> Tensor:
        """The token after each place in its document: int64, shape (B, L); `IGNORED` if none."""
        following = torch.full_like(self.input_ids, IGNORED)
        together = self.documents[:, 1:] == self.documents[:, :-1]
        together &= self.documents[:, 1:] != PADDING
        following[:, :-1][together] = self.input_ids[:, 1:][together]
        return following

    @property
    def attention_mask(self) -> Tensor:
        """Which places a place may look at: bool, shape (B, 1, L, L), for scaled dot products.

        Itself and those before it in its document; padding sees padding.
        """
        same = self.documents[:, None, :, None] == self.documents[:, None, None, :]
        return same.tril()

    def with_labels(self, labels: CodedLabels) -> "TokenBatch":
        """The same rows with their labels.

        Raises:
            InvalidRequestError: there is not one for each place that counts.
        """
        places = int(self.counted.sum())
        if not len(labels) == len(self.views) == places:
            raise InvalidRequestError(f"{len(labels)} labels came for {places} places that count")
        return TokenBatch(
            self.position,
            self.next_position,
            self.input_ids,
            self.position_ids,
            self.documents,
            self.counted,
            self.views,
            self.repeated,
            labels,
        )

    def to(self, device: torch.device | str) -> Self:
        """The same batch, its tensors on a device; labels stay where they are."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            documents=self.documents.to(device),
            counted=self.counted.to(device),
            repeated=self.repeated.to(device),
        )


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class TokenBatch(TokenRows):
    """Rows and their labels.

    The label of a place is the teacher's prediction of the token after it, made from the sample's
    first token on up to this one: `hidden_states[batch.counted]` belong to `batch.labels`.

    Attributes:
        labels: labels of the T places that are counted, in the order of `views`.
    """

    labels: CodedLabels
