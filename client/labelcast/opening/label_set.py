"""A label set in use: the same from a directory and from a service."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.augmentation import ViewPolicy
from labelcast.codec import Labels
from labelcast.label_set import (
    MissingViews,
    StageGrid,
    stage_grid,
    stage_views,
)
from labelcast.label_set.student_side import UNCHECKED, Unchecked
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.drawn_views import DrawnViews, draw_views
from labelcast.opening.label_reader import LabelReader
from labelcast.opening.loops.loop_reader import LoopReader
from labelcast.opening.loops.read_labels import OnMiss
from labelcast.opening.parts.label_set_parts import LabelSetParts
from labelcast.opening.pending_labels import LocalLabels, PendingLabels
from labelcast.plans import Padding, SequencePlan
from labelcast.representation import Representation
from labelcast.views import Views


class LabelSet(LabelSetParts):
    """A label set in use.

    Its parts are read at first use, verified, and kept; a pickled label set keeps none of them.
    """

    @abstractmethod
    def stream(
        self, batches: Iterable[Views], representation: Representation
    ) -> Iterator[DeliveredLabels]:
        """Read the labels of many batches, in order.

        Args:
            batches: batches of views, read lazily.
            representation: form of the labels.

        Raises:
            ViewNotFoundError: a view that the label set lacks.
            UnsupportedFormError, ContractMismatchError: the labels do not come in that form.
        """

    def ask(self, views: Views, representation: Representation) -> PendingLabels:
        """Ask for one batch and return at once: from a service it comes meanwhile.

        Raises:
            UnsupportedFormError, ContractMismatchError: the labels do not come in that form.
        """
        return LocalLabels(lambda: next(iter(self.stream([views], representation))))

    def rows_ahead(self, representation: Representation) -> int:
        """Number of labels to ask for ahead; 1 where labels are at hand."""
        return 1

    def count_missed(self, reason: str, rows: int) -> None:
        """Be told that a loop went on without so many labels, for whoever counts."""

    @abstractmethod
    def resolve(self, views: Views, missing: MissingViews) -> tuple[Views, NDArray[np.int64]]:
        """Find stored views, if not every view is stored; see `labelcast.label_set.MissingViews`.

        `resolve(Views.of(sample_ids, draw), MissingViews.DRAW_ALL)` gives a stored view of each
        sample, as label pruning (LPLD) trains.

        Returns:
            The views, and which rows of the request they answer: int64, increasing.

        Raises:
            ViewNotFoundError: a view is refused, or a sample has no stored view.
        """

    def labels(self, sample_ids: ArrayLike, seeds: ArrayLike) -> Labels:
        """Read labels by sample and augmentation seed, decoded here.

        Args:
            sample_ids: integers, shape (N,).
            seeds: integers, shape (N,), or one for all.

        Returns:
            float32, shape (N, C): logits or probabilities, as the contract says.

        Raises:
            InvalidRequestError: there are no views, or values that are no IDs and seeds.
            ViewNotFoundError: a view that the label set lacks.
        """
        # A caller that names a seed means that view, however it is rendered.
        soft: Labels = self.reader(policy=self.contract.policy)(Views.of(sample_ids, seeds))
        return soft

    def views(self, sample_ids: ArrayLike, seeds: ArrayLike) -> DrawnViews:
        """Draw how views are made (crop, flip, partner), for your own rendering.

        Args:
            sample_ids: integers, shape (N,).
            seeds: integers, shape (N,), or one for all.

        Raises:
            ViewNotFoundError: a view or a sample that the label set lacks.
        """
        return draw_views(
            self.digest,
            self.contract.policy,
            Views.of(sample_ids, seeds),
            self.index(),
            self.records(),
        )

    def reader(
        self,
        representation: Representation | None = None,
        *,
        device: str | None = None,
        policy: ViewPolicy | Unchecked | None = UNCHECKED,
    ) -> LabelReader:
        """Make a reader of labels for a training loop that renders its own images.

        A reader is never shown an image, so it compares none: read images through
        `labelcast.torch.ComparedDataset`, or compare them with `fingerprints`.

        Args:
            representation: codes, which are decoded here, by default; or dense labels.
            device: torch device that decodes and gets the labels; None for numpy arrays.
            policy: policy that the loop renders by, compared with the label set's; without it the
                reader takes views only from `views`.

        Raises:
            ContractMismatchError: the loop renders by another policy.
            UnsupportedFormError: the labels do not come in that form.
        """
        form = Representation.codes() if representation is None else representation
        if device is None:
            return LabelReader(self, form, policy=policy)
        # Nothing below labelcast.torch imports torch, so that it stays optional.
        torch_reader: Any = import_module("labelcast.torch.label_reader")
        read: LabelReader = torch_reader.TorchLabelReader(self, form, policy=policy, device=device)
        return read

    def loop_reader(
        self,
        representation: Representation | None = None,
        *,
        device: str | None = None,
        policy: ViewPolicy | Unchecked | None = UNCHECKED,
        on_miss: OnMiss = OnMiss.WAIT,
        miss_seconds: float = 10.0,
        miss_not_stored: bool = False,
        hard_labels: tuple[ArrayLike, ArrayLike] | None = None,
        in_flight: int = 1,
    ) -> LoopReader:
        """Make a reader that asks ahead, and may go on where labels are missing.

        Args:
            representation: see `reader`.
            device: see `reader`.
            policy: see `reader`.
            on_miss: see `LoopReader`, as all that follow.
            miss_seconds: how long a batch is waited for.
            miss_not_stored: whether views that are not stored are missed.
            hard_labels: sample IDs and their classes.
            in_flight: batches that may be asked for at one time.

        Raises:
            As `reader` and `LoopReader`.
        """
        form = Representation.codes() if representation is None else representation
        return LoopReader(
            self,
            self.reader(form, device=device, policy=policy),
            form,
            on_miss=on_miss,
            miss_seconds=miss_seconds,
            miss_not_stored=miss_not_stored,
            hard_labels=hard_labels,
            in_flight=in_flight,
        )

    def code_reader(
        self, *, device: str = "cpu", policy: ViewPolicy | Unchecked | None = UNCHECKED
    ) -> LabelReader:
        """Make a reader whose labels stay codes, for `labelcast.torch.coded_label_loss`.

        Args:
            device: torch device of student and codes, which decodes them later.
            policy: as of `reader`.

        Raises:
            ContractMismatchError: the loop renders by another policy.
        """
        torch_reader: Any = import_module("labelcast.torch.label_reader")
        read: LabelReader = torch_reader.CodedLabelReader(self, policy=policy, device=device)
        return read

    def sequence_plan(
        self,
        sample_ids: range | ArrayLike | None = None,
        *,
        epochs: int,
        order_key: int | None = 0,
        rank: int = 0,
        num_ranks: int = 1,
        padding: Padding = Padding.REPEAT,
    ) -> SequencePlan:
        """Plan a run over whole sequences; a service expands it from a few bytes.

        Args:
            sample_ids: sequences; None for all that have a label.
            epochs: see `SequencePlan`, as all that follow.
            order_key: selects the orders of the epochs; None for none.
            rank: whose share this is.
            num_ranks: ranks that share each epoch.
            padding: what happens to sequences that cannot be dealt out evenly.

        Raises:
            As `SequencePlan`.
        """
        return SequencePlan(
            self.index().labelled_sample_ids() if sample_ids is None else sample_ids,
            self.stored_views(),
            epochs=epochs,
            order_key=order_key,
            rank=rank,
            num_ranks=num_ranks,
            padding=padding,
        )

    def stage_views(self, stage: int, *, new: bool = False) -> Views:
        """Views of a staged label set up to a stage, or only those that it adds.

        Args:
            stage: number of the stage, from 0.
            new: leave out the views of earlier stages.

        Raises:
            InvalidRequestError: there is no such stage.
        """
        return stage_views(self.manifest.stages, self.index(), stage, new=new)

    def stage_grid(self, stage: int, *, new: bool = False) -> StageGrid:
        """Samples and seeds of a stage, for a plan or loader that trains it.

        Args:
            stage: number of the stage, from 0.
            new: leave out what earlier stages have.

        Raises:
            InvalidRequestError: there is no such stage, or a sample lacks a seed of the others.
        """
        return stage_grid(self.manifest.stages, self.index(), stage, new=new)
