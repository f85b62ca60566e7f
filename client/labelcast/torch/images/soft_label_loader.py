"""`SoftLabelLoader`: (augmented view, soft label) in order, epoch after epoch."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from labelcast.augmentation import RecordedPolicy, ViewPolicy, shows_partners
from labelcast.canary import Canary, shown_classes
from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast.label_set import MissingViews
from labelcast.label_set.fingerprints import FileReading, SampleFingerprints
from labelcast.label_set.student_side import (
    UNCHECKED,
    Side,
    Unchecked,
    require_same_policy,
    require_same_side,
)
from labelcast.label_set.view_records import mixing
from labelcast.plans import Padding
from labelcast.torch.data.plan import PlannedBatch, TrainingPlan
from labelcast.torch.data.position import START, Position
from labelcast.torch.data.prefetch import Prefetch
from labelcast.torch.data.ranks import agreed_ranks
from labelcast.torch.data.state import with_labels, without_labels
from labelcast.torch.images.batch import Batch
from labelcast.torch.images.compared import compared, fingerprints_of, require_fingerprints
from labelcast.torch.images.rendering import Images, Renderer, choose_renderer
from labelcast.torch.images.samples import SampleTable, chosen_samples
from labelcast.torch.sources import LabelSource, check_source
from labelcast.torch.start_check import check_at_start
from labelcast.views import Views


class SoftLabelLoader(IterableDataset[Batch]):
    """Iterates over all epochs of a run, over the remaining ones, or over one at a time.

    Labels are read ahead on a thread of this process, so image workers need no network. Order and
    views are pure functions of `seeds` and `order_key`: runs that differ only in their labels see
    the same views in the same order. To resume an interrupted run, give the same arguments again
    and as `start` the `next_position` of the last batch that it trained on: it sees the same
    batches as an uninterrupted run. Every iteration begins at `start`. `state_dict` and
    `load_state_dict` do the same for frameworks that keep states, and for other numbers of ranks;
    `set_epoch` gives one epoch to an iteration, for loops that count epochs themselves.

    Args:
        dataset: a `SampleDataset`.
        source: soft labels; None to train on hard labels.
        policy: policy that renders the views; by default the source's own. Needed without a source;
            None for samples without augmentation.
        seeds: augmentation seed of each epoch of the whole run. A resumed run gives the full list
            too, not the remaining seeds: the order of an epoch follows from its index.
        batch_size: views per batch of this rank; the last of an epoch may be smaller. Batches are
            cut from the first row of an epoch: a start inside a batch begins with the rest of it.
        order_key: key that selects the orders of the epochs.
        rank: which of `num_ranks` processes this is, as torch.distributed says; must be given where
            that runs with several.
        num_ranks: processes that share each epoch and make equally many steps; one by default.
        padding: what happens to samples that cannot be dealt out evenly: some come again, marked
            as `Batch.repeated`, or the last of the order are left out.
        device: device that renders views.
        keep_image_bytes: limit up to which all images are held in memory.
        image_workers: number of processes that read images.
        read_ahead: number of batches of labels kept ready.
        missing: what happens to views that the label set lacks; `MissingViews.DRAW_ALL` takes a
            stored view of each sample instead, with the seeds as draw numbers, as label pruning
            (LPLD) trains.
        sample_ids: uint64, only these samples of the data set, such as those of a stage or a
            federated client, whose data set may be a part of the labels'; None for all. Ranks give
            the same ones. See `require_same_side` for IDs by position.
        canary: watches the first labels and stops the run if they do not belong to these views; by
            default compares them with the agreement in the label set's report, if it has one.
        control_views: "compared" compares, before the first batch, looks and labels of the label
            set's control views with what it keeps of them; UNCHECKED compares none.
        fingerprints: "compared" compares each image with the teacher's when it is first read; those
            of a federated site (`LabelSet.fingerprints_from`) do so too, and no others are fetched;
            UNCHECKED compares none, and says that positions of another number of samples are meant.
        start: position from which to resume; the beginning by default. The number of epochs and row
            0 are the end, where nothing is left.

    Raises:
        InvalidRequestError: `dataset` is no `SampleDataset`, or has no files although the labels'
            fingerprints are of files; the batch size or rank is impossible, a rank would make more
            steps than others, or the run has no such start.
        ContractMismatchError: another policy makes the source's views, or the classes differ.
            Iterating raises it where control views look otherwise than to the teacher, or get other
            labels than when the set was made.
        MisalignedLabelsError: the labels are of other samples.
        DifferentImageError: an image is not the one that the labels were made of; iterating raises
            it too.
    """

    def __init__(
        self,
        dataset: Any,
        source: LabelSource | None,
        *,
        policy: ViewPolicy | Unchecked | None = UNCHECKED,
        seeds: Sequence[int],
        batch_size: int,
        order_key: int = 0,
        rank: int | None = None,
        num_ranks: int | None = None,
        padding: Padding = Padding.REPEAT,
        device: torch.device | str = "cpu",
        keep_image_bytes: int = 2**30,
        image_workers: int = 0,
        read_ahead: int = 8,
        missing: MissingViews = MissingViews.REFUSE,
        sample_ids: ArrayLike | None = None,
        canary: Canary | Literal["recorded"] | None = "recorded",
        control_views: Unchecked | Literal["compared"] = "compared",
        fingerprints: SampleFingerprints | Unchecked | Literal["compared"] = "compared",
        start: Position = START,
    ) -> None:
        table = SampleTable(dataset)
        self._hard_labels = table.hard_labels()
        check_source(source)
        self._source = source
        self._policy = policy = _agreed_policy(policy, source)
        self._records = None if source is None else source.view_records
        self._renderer = choose_renderer(policy, table.sample_ids, self._records)
        sample_ids = chosen_samples(sample_ids, table.sample_ids)
        self._chosen = sample_ids
        known = fingerprints_of(source, fingerprints)
        # Before any image is read: one that is missing is told from one that differs.
        if source is not None:
            require_same_side(self._side(table, sample_ids, known), source.made_for)
        if isinstance(fingerprints, SampleFingerprints):
            shown = None if shows_partners(policy) else sample_ids
            require_fingerprints(fingerprints, table.sample_ids if shown is None else shown)
        self._table = compared(table, known)
        self._device = torch.device(device)
        any_size = isinstance(policy, RecordedPolicy)
        self._images = _BatchImages(
            self._table.image_list if any_size else self._table.reader(keep_bytes=keep_image_bytes)
        )
        self._image_workers = image_workers
        self._read_ahead = read_ahead
        # Not read unless needed: a service's source has to fetch it.
        asked = missing is not MissingViews.REFUSE
        rank, num_ranks = agreed_ranks(rank, num_ranks)
        self._run = self._from_start = TrainingPlan(
            self._table.sample_ids if sample_ids is None else sample_ids,
            seeds,
            batch_size=batch_size,
            order_key=order_key,
            rank=rank,
            num_ranks=num_ranks,
            padding=padding,
            missing=missing,
            stored=source.stored_views if asked and source is not None else None,
            start=start,
        )
        self._epoch: int | None = None
        self._position = start
        if canary == "recorded":
            recorded = None if source is None else source.recorded_agreement
            canary = None if recorded is None else Canary(recorded)
        self._canary = canary
        self._compares_control_views = control_views is not UNCHECKED
        self.label_wait_seconds = 0.0

    def __len__(self) -> int:
        """Batches from `start` on; after `set_epoch`, of that whole epoch.

        As torch counts, a state that was loaded changes nothing: frameworks compare this with the
        number of batches that were trained on before.
        """
        if self._epoch is None:
            return len(self._from_start)
        return len(self._run.starting(Position(self._epoch)).epoch(self._epoch))

    @property
    def plan(self) -> TrainingPlan:
        """Views of every batch of an iteration, without reading anything."""
        return self._run if self._epoch is None else self._run.epoch(self._epoch)

    @property
    def position(self) -> Position:
        """Place after the last batch that was given out, or where the next iteration begins."""
        return self._position

    @property
    def sampler(self) -> Self:
        """This loader: loops that were written for a DataLoader call `sampler.set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Have each iteration give this epoch alone, of which `start` may leave a part or nothing.

        A loop over all epochs that is begun anew after `load_state_dict` thus passes those that are
        over without a batch.

        Raises:
            InvalidRequestError: the run has no such epoch.
        """
        self._position = self._run.epoch(epoch).start
        self._epoch = epoch

    def state_dict(self) -> dict[str, int | str]:
        """State after the last batch that was given out: the same on every rank, and JSON."""
        return with_labels(self._run.state_at(self._position), self._digest)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Start where a state was taken, from the next iteration's first batch on.

        After `set_epoch`, the next iteration gives the rest of that epoch, and no more.

        The number of ranks may be another one, if all ranks still read as many views a step: the
        batches of all ranks together are the same sets.

        Args:
            state_dict: what `state_dict` returned on any rank.

        Raises:
            InvalidRequestError: the state is of another run, with other labels, or other batches
                would come.
        """
        self._run = self._run.resumed(without_labels(state_dict, self._digest))
        self._position = start = self._run.start
        if self._epoch is not None:
            self._epoch = None if start.epoch == self._run.num_epochs else start.epoch

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise InvalidRequestError(
                f"each of {worker.num_workers} workers would give every batch; give the outer"
                " DataLoader num_workers=0, and SoftLabelLoader image_workers= to read images"
            )
        self._position = self.plan.start
        return self._batches()

    def _batches(self) -> Iterator[Batch]:
        # Asked at the first batch, as torch's samplers are: Lightning sets the epoch after `iter`.
        plan = self.plan
        self._position = plan.start
        for batch in self._read(plan):
            self._position = batch.next_position
            yield batch

    def _read(self, plan: TrainingPlan) -> Iterator[Batch]:
        if self._source is None:
            for planned, pixels in zip(plan, self._image_batches(plan), strict=True):
                yield self._batch(planned, pixels, None)
            return
        if self._compares_control_views:
            check_at_start(
                self._source,
                lambda views: self._render(views, self._images[_wanted(views, self._renderer)]),
                self._renderer.partners,
                known=self._table.sample_ids,
                chosen=self._chosen,
            )
            self._compares_control_views = False
        labels = self._source.labels(plan.batches)
        with Prefetch(labels, self._read_ahead) as prefetched:
            ready = iter(prefetched)
            for planned, pixels in zip(plan, self._image_batches(plan), strict=True):
                began = time.perf_counter()
                soft = next(ready, None)
                self.label_wait_seconds += time.perf_counter() - began
                if soft is None or len(soft) != len(planned.views):
                    raise InvalidRequestError(
                        f"the label source gave {0 if soft is None else len(soft)} labels for a"
                        f" batch of {len(planned.views)} views"
                    )
                yield self._batch(planned, pixels, soft)

    @property
    def _digest(self) -> Digest | None:
        return None if self._source is None else self._source.digest

    def _side(
        self,
        table: SampleTable,
        chosen: NDArray[np.uint64] | None,
        known: SampleFingerprints | Unchecked | None,
    ) -> Side:
        reading = getattr(table.dataset, "reading", None)
        return Side(
            policy=self._policy,
            sample_ids=table.sample_ids,
            hard_labels=self._hard_labels,
            num_classes=len(table.dataset.class_names),
            class_list=table.class_list(),
            id_scheme=reading.sample_ids if isinstance(reading, FileReading) else UNCHECKED,
            chosen=chosen,
            images_compared=known if isinstance(known, Unchecked) else known is not None,
        )

    def _batch(
        self, planned: PlannedBatch, pixels: tuple[Images, Images | None], labels: Tensor | None
    ) -> Batch:
        views = planned.views
        table, hard_labels = self._table.sample_ids, self._hard_labels
        shown = shown_classes(views, self._policy, table, hard_labels, self._records)
        if self._canary is not None and labels is not None and self._canary.watching:
            self._canary.watch(labels.argmax(dim=1).cpu().numpy(), shown)
        _, share = mixing(views, self._policy, table, self._records)
        return Batch(
            position=planned.position,
            next_position=planned.next_position,
            views=views,
            images=self._render(views, pixels),
            labels=torch.empty(len(views), 0) if labels is None else labels.to(self._device),
            shown=torch.from_numpy(shown).to(self._device),
            mixed_area=torch.from_numpy(share).to(self._device),
            repeated=torch.from_numpy(planned.repeated).to(self._device),
        )

    def _render(self, views: Views, pixels: tuple[Images, Images | None]) -> Tensor:
        images, partners = pixels
        return self._renderer.render(
            views,
            self._to_device(images),
            None if partners is None else self._to_device(partners),
        )

    def _to_device(self, images: Images) -> Images:
        if isinstance(images, Tensor):
            return images.to(self._device)
        return [image.to(self._device) for image in images]

    def _image_batches(self, plan: TrainingPlan) -> Iterator[tuple[Images, Images | None]]:
        wanted = _Wanted(plan, self._renderer)
        return iter(
            DataLoader(
                self._images,
                batch_size=None,
                sampler=wanted,
                num_workers=self._image_workers,
                # Its workers end with this process, however that ends; a fork server's do not.
                multiprocessing_context="spawn" if self._image_workers else None,
            )
        )


def _agreed_policy(
    policy: ViewPolicy | Unchecked | None, source: LabelSource | None
) -> ViewPolicy | None:
    """The policy that both sides render by."""
    theirs = UNCHECKED if source is None else source.view_policy
    require_same_policy(policy, theirs)
    agreed = theirs if isinstance(policy, Unchecked) else policy
    if isinstance(agreed, Unchecked):
        raise InvalidRequestError(
            "neither the loader nor its label source says how views are made; give policy=, which"
            " is None for samples as they are"
        )
    return agreed


class _Wanted:
    """Sample IDs of each batch and of its partners, as the DataLoader's sampler."""

    def __init__(self, plan: TrainingPlan, renderer: Renderer) -> None:
        self._plan = plan
        self._renderer = renderer

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint64] | None]]:
        for planned in self._plan:
            yield _wanted(planned.views, self._renderer)


def _wanted(
    views: Views, renderer: Renderer
) -> tuple[NDArray[np.uint64], NDArray[np.uint64] | None]:
    """Sample IDs of views and of their partners; None without partners."""
    partners = renderer.partners(views)
    return views.sample_ids, None if partners is views else partners.sample_ids


class _BatchImages(Dataset[tuple[Images, Images | None]]):
    """Reads whole batches, so that a worker's message is one tensor."""

    def __init__(self, read: Callable[[NDArray[np.uint64]], Images]) -> None:
        self._read = read

    def __getitem__(
        self, wanted: tuple[NDArray[np.uint64], NDArray[np.uint64] | None]
    ) -> tuple[Images, Images | None]:
        own, partners = wanted
        return self._read(own), None if partners is None else self._read(partners)
