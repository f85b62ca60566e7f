"""`TokenLoader`: rows of tokens and the labels of their positions, epoch after epoch."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast.label_set.language.next_token import NextTokenFigure
from labelcast.label_set.student_side import UNCHECKED, Unchecked
from labelcast.opening.label_set import LabelSet
from labelcast.opening.parts.label_set_parts import check_opened
from labelcast.plans import FeistelPermutation, Padding
from labelcast.torch.data.position import START, Position
from labelcast.torch.data.prefetch import Prefetch
from labelcast.torch.data.ranks import agreed_ranks
from labelcast.torch.data.state import with_labels, without_labels
from labelcast.torch.tokens.data.batch import TokenBatch, TokenRows
from labelcast.torch.tokens.data.canary import NextTokenCanary
from labelcast.torch.tokens.data.packing import pack
from labelcast.torch.tokens.data.rows import RowTokens
from labelcast.torch.tokens.data.sequences import TokenSequences
from labelcast.torch.tokens.data.shown import ShownTokens
from labelcast.torch.tokens.data.student_side import (
    counted_positions,
    fingerprints_to_compare,
    require_same_lengths,
    require_same_tokenizer,
    require_tokens,
)
from labelcast.torch.tokens.data.token_plan import TokenPlan


class TokenLoader(IterableDataset[TokenBatch]):
    """Iterates over all epochs of a run, over the remaining ones, or over one at a time.

    Labels are asked for ahead by sample and position, on a thread of this process; workers read
    tokens alone, and need no network. Samples are put into rows once, in an order that `order_key`
    chooses, and every epoch has the rows in an order of its own: any batch can be begun with, and
    all epochs have equally many. A sample longer than a row is cut into parts, of which the student
    sees one at a time; the teacher has seen the whole.

    Args:
        sequences: samples, all or some of the label set's; their `counted` says whose labels count.
            Ranks give the same ones.
        label_set: opened from a service or a directory.
        tokenizer: digest of the student's tokenizer, from `labelcast.tokenizer_digest`; UNCHECKED
            compares none.
        epochs: epochs of the whole run; a resumed run gives all of them, too.
        batch_size: rows per batch of this rank; the last of an epoch may be smaller.
        row_length: places of a row.
        packed: whether several samples may share a row, each a document of its own; if not, rows
            are as long as the longest of their batch.
        count_last: whether the label of a sample's last position counts, which no token follows.
        order_key: key that selects the rows and their orders.
        rank: which of `num_ranks` processes this is; must be given where torch.distributed runs
            with several.
        num_ranks: processes that share each epoch and make equally many steps; one by default.
        padding: what happens to rows that cannot be dealt out evenly.
        device: device of the batches and of the labels, which are decoded there.
        pad_token: token in places that hold none; must be below the vocabulary's size.
        token_workers: processes that read tokens; in this one by default.
        read_ahead: batches of labels kept ready.
        canary: "recorded" watches the first labels, whether they call the next tokens as likely as
            when the label set was made; UNCHECKED does not.
        fingerprints: "compared" compares the tokens of each sample with the teacher's when they are
            first read; UNCHECKED does not.
        start: position from which to resume.

    Raises:
        ContractMismatchError: labels of another tokenizer, or of no token positions.
        DifferentTokensError: a sample has another number of tokens than the teacher was shown;
            iterating raises it where it has other tokens.
        ViewNotFoundError: the label set lacks a sample.
        MisalignedLabelsError: raised by iterating: the labels are of other positions.
        InvalidRequestError: an argument that is none, positions that count and have no label, a
            rank that would make more steps than others, or a label set without the figure that the
            canary needs.
    """

    def __init__(
        self,
        sequences: TokenSequences,
        label_set: LabelSet,
        *,
        tokenizer: Digest | Unchecked,
        epochs: int,
        batch_size: int,
        row_length: int,
        packed: bool = True,
        count_last: bool = False,
        order_key: int = 0,
        rank: int | None = None,
        num_ranks: int | None = None,
        padding: Padding = Padding.REPEAT,
        device: torch.device | str = "cpu",
        pad_token: int = 0,
        token_workers: int = 0,
        read_ahead: int = 8,
        canary: Unchecked | Literal["recorded"] = "recorded",
        fingerprints: Unchecked | Literal["compared"] = "compared",
        start: Position = START,
    ) -> None:
        check_opened(label_set)
        contract, index = label_set.contract, label_set.index()
        require_tokens(contract)
        require_same_tokenizer(contract, tokenizer)
        require_same_lengths(sequences, index)
        if not 0 <= pad_token < contract.num_classes:
            raise InvalidRequestError(
                f"pad_token is {pad_token}, must be a token from 0 to {contract.num_classes - 1}"
            )
        counted = counted_positions(sequences, index, count_last=count_last)
        order = FeistelPermutation(len(sequences), epoch=0, key=order_key)
        packing = pack(
            sequences.lengths,
            row_length,
            order=order.at(np.arange(len(sequences), dtype=np.uint64)).astype(np.int64),
            packed=packed,
            needed=np.concatenate([[0], np.cumsum(counted)]),
        )
        rank, num_ranks = agreed_ranks(rank, num_ranks)
        self._run = self._from_start = TokenPlan(
            sequences,
            packing,
            counted,
            epochs=epochs,
            batch_size=batch_size,
            order_key=order_key,
            rank=rank,
            num_ranks=num_ranks,
            padding=padding,
            start=start,
        )
        compares = not isinstance(fingerprints, Unchecked)
        known = fingerprints_to_compare(label_set.fingerprints()) if compares else None
        shown = ShownTokens(sequences, vocabulary=contract.num_classes, fingerprints=known)
        self._tokens = RowTokens(
            sequences, packing, counted, shown=shown, pad_token=pad_token, fixed_length=packed
        )
        self._label_set = label_set
        self._device = torch.device(device)
        self._reader = label_set.code_reader(device=str(device), policy=contract.policy)
        self._token_workers, self._read_ahead = token_workers, read_ahead
        self.batch_size = batch_size
        self._canary = None if canary is UNCHECKED else _recorded_canary(label_set)
        self._epoch: int | None = None
        self._position = start

    def __len__(self) -> int:
        """Batches from `start` on; after `set_epoch`, of that whole epoch."""
        if self._epoch is None:
            return len(self._from_start)
        return len(self._run.starting(Position(self._epoch)).epoch(self._epoch))

    @property
    def plan(self) -> TokenPlan:
        """Rows and views of every batch of an iteration, without reading anything."""
        return self._run if self._epoch is None else self._run.epoch(self._epoch)

    @property
    def position(self) -> Position:
        """Place after the last batch that was given out, or where the next iteration begins."""
        return self._position

    def set_epoch(self, epoch: int) -> None:
        """Have each iteration give this epoch alone, of which `start` may leave a part or nothing.

        Raises:
            InvalidRequestError: the run has no such epoch.
        """
        self._position = self._run.epoch(epoch).start
        self._epoch = epoch

    def start_at(self, position: Position) -> None:
        """Begin the next iterations at a position of the run.

        Raises:
            InvalidRequestError: the run has no such position.
        """
        self._run = self._run.starting(position)
        self._position = position

    def state_dict(self) -> dict[str, int | str]:
        """State after the last batch that was given out: the same on every rank, and JSON."""
        return with_labels(self._run.state_at(self._position), self._label_set.digest)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Start where a state was taken, from the next iteration's first batch on.

        The number of ranks may be another one, if all ranks still read as many rows a step.

        Args:
            state_dict: what `state_dict` returned on any rank.

        Raises:
            InvalidRequestError: the state is of another run, with other labels or rows.
        """
        self._run = self._run.resumed(without_labels(state_dict, self._label_set.digest))
        self._position = start = self._run.start
        if self._epoch is not None:
            self._epoch = None if start.epoch == self._run.num_epochs else start.epoch

    def __iter__(self) -> Iterator[TokenBatch]:
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise InvalidRequestError(
                f"each of {worker.num_workers} workers would give every batch; give the outer"
                " DataLoader num_workers=0, and TokenLoader token_workers= to read tokens"
            )
        self._position = self.plan.start
        return self._batches()

    def _batches(self) -> Iterator[TokenBatch]:
        plan = self.plan
        self._position = plan.start
        labels = self._reader.over(plan.batches)
        with Prefetch(labels, self._read_ahead) as prefetched:
            for tokens, codes in zip(self._token_batches(plan), prefetched, strict=True):
                batch = tokens.with_labels(codes).to(self._device)
                if self._canary is not None and self._canary.watching:
                    self._canary.watch(batch, self._label_set.codec())
                self._position = batch.next_position
                yield batch

    def _token_batches(self, plan: TokenPlan) -> Iterator[TokenRows]:
        return iter(
            DataLoader(
                self._tokens,
                batch_size=None,
                sampler=plan,
                num_workers=self._token_workers,
                collate_fn=_as_it_is,
                # Its workers end with this process, however that ends; a fork server's do not.
                multiprocessing_context="spawn" if self._token_workers else None,
            )
        )


def _as_it_is(batch: Any) -> Any:
    return batch


def _recorded_canary(label_set: LabelSet) -> NextTokenCanary:
    figure = NextTokenFigure.from_report(label_set.report)
    if figure is None:
        raise InvalidRequestError(
            "the label set's report does not say how likely its labels call the next token, which"
            " tells shifted labels from right ones; encode it anew, or give canary=UNCHECKED"
        )
    return NextTokenCanary(figure)
