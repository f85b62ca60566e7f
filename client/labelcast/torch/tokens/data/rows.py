"""Reading the tokens of a batch's rows, in a worker or here: nothing of the network."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from labelcast.torch.tokens.data.batch import PADDING, TokenRows
from labelcast.torch.tokens.data.packing import Packing
from labelcast.torch.tokens.data.sequences import TokenSequences
from labelcast.torch.tokens.data.shown import ShownTokens
from labelcast.torch.tokens.data.token_plan import PlannedRows


class RowTokens(Dataset[TokenRows]):
    """Makes batches of planned rows, without labels.

    Args:
        sequences: samples.
        packing: their rows.
        counted: bool, shape (N,): positions whose labels are asked for.
        shown: checks the tokens of a sample when they are first shown.
        pad_token: token in places that hold none.
        fixed_length: whether every batch has the packing's row length, or that of its longest row.
    """

    def __init__(
        self,
        sequences: TokenSequences,
        packing: Packing,
        counted: NDArray[np.bool_],
        *,
        shown: ShownTokens,
        pad_token: int,
        fixed_length: bool,
    ) -> None:
        self._sequences, self._packing, self._counted = sequences, packing, counted
        self._shown = shown
        self._pad_token = pad_token
        self._fixed_length = fixed_length

    def __getitem__(self, planned: PlannedRows) -> TokenRows:
        """Tokens of a planned batch.

        Raises:
            As `ShownTokens.check`.
        """
        packing, sequences = self._packing, self._sequences
        lengths = [int(packing.lengths[packing.parts(row)].sum()) for row in planned.rows]
        shape = len(lengths), packing.row_length if self._fixed_length else max(lengths)
        ids = np.full(shape, self._pad_token, dtype=np.int64)
        places, documents = np.zeros(shape, dtype=np.int64), np.full(shape, PADDING, dtype=np.int64)
        counted = np.zeros(shape, dtype=np.bool_)
        for number, row in enumerate(planned.rows):
            at, parts = 0, packing.parts(row)
            for document, part in enumerate(range(parts.start, parts.stop)):
                sample, first = int(packing.samples[part]), int(packing.firsts[part])
                length = int(packing.lengths[part])
                self._shown.check(sample)
                here, start = slice(at, at + length), int(sequences.offsets[sample]) + first
                ids[number, here] = sequences.part(sample, first, length)
                places[number, here] = np.arange(length)
                documents[number, here] = document
                counted[number, here] = self._counted[start : start + length]
                at += length
            # Padding is a document too: nothing else looks at it, and it sees itself at least.
            places[number, at:] = np.arange(shape[1] - at)
        return TokenRows(
            position=planned.position,
            next_position=planned.next_position,
            input_ids=torch.from_numpy(ids),
            position_ids=torch.from_numpy(places),
            documents=torch.from_numpy(documents),
            counted=torch.from_numpy(counted),
            views=planned.views,
            repeated=torch.from_numpy(planned.repeated),
        )
