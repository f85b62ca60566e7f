"""Every view's sample ID and seed, from what is stored and what is known about the producer.

Rules:
  * seeds are epochs; the partner of a view lies in the same batch, so it has the same seed;
  * batches have one size, except the last of an epoch if the producer kept it;
  * epochs have one length, except the last, which pruning cuts short, and one that its list says is
    shorter: views that are not stored are absent, never made up.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast_producers.formats.batches.batch import Batch
from labelcast_producers.formats.batches.orders import Orders
from labelcast_producers.formats.batches.samples import KnownSamples

SampleIDs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Epochs:
    """Batches by epoch, with consistent numbers and sizes.

    Attributes:
        of: batches of each epoch, in order.
        batch_size: size of all batches but the last of an epoch.
    """

    of: tuple[tuple[Batch, ...], ...]
    batch_size: int

    @property
    def whole_length(self) -> int:
        """Views of a whole epoch, as far as the files tell."""
        return sum(batch.size for batch in self.of[0])


def cut_epochs(
    batches: Sequence[Batch], orders: Orders | None = None, *, otherwise: str = ""
) -> Epochs:
    """Group batches by epoch.

    Args:
        batches: batches by epoch and number, without gaps.
        orders: samples of each epoch, if the producer listed them: an epoch in which it broke off
            is then as long as its list.
        otherwise: what else may help where an epoch lacks batches, for the message.

    Raises:
        LabelFileError: an epoch lacks batches, or a batch has another size; names it.
    """
    epochs = tuple(tuple(group) for _, group in groupby(batches, lambda batch: batch.place.epoch))
    most = max(map(len, epochs))
    for epoch in epochs[:-1]:
        last, views = epoch[-1].place, sum(batch.size for batch in epoch)
        if len(epoch) == most or (orders and len(orders.get(last.epoch or 0, ())) <= views):
            continue
        if orders:
            otherwise = f", or cut its list to the first {views} samples if it was broken off there"
        raise LabelFileError(
            f"{last}: epoch {last.epoch} ends here, with {len(epoch)} batches, others have"
            f" {most}; fetch batch {len(epoch)} and those after it{otherwise}",
            path=last.file.path,
        )
    batch_size = _usual_size(batches)
    lasts = [epoch[-1] for epoch in epochs if len(epoch) == most]
    for batch in batches:
        # Where a whole epoch ends, a batch may be as short as in the first epoch.
        short = lasts[0].size if batch.place.number == most - 1 else batch_size
        if batch.size != short or batch.size > batch_size:
            batch.place.refuse(
                f"has {batch.size} views, batches of this set have {min(short, batch_size)} there;"
                " fetch it again"
            )
    return Epochs(epochs, batch_size)


def derived_ids(
    epochs: Epochs, orders: Iterator[SampleIDs], num_samples: int
) -> Iterator[SampleIDs]:
    """Derive the sample IDs of each batch from the sampler's seed.

    Args:
        epochs: epochs from 0 on.
        orders: orders of the epochs, from 0 on.
        num_samples: number of samples that the sampler permuted.
    """
    for epoch in epochs.of:
        order = next(orders).astype(np.min_scalar_type(num_samples))
        for batch in epoch:
            start = batch.place.number * epochs.batch_size
            yield order[start : start + batch.size]


def count_samples(epochs: Epochs, known: KnownSamples) -> int:
    """Count the samples that the sampler permuted: by the options, else by the views of an epoch.

    Raises:
        InvalidRequestError: the options contradict the files; names both counts.
    """
    length, size = epochs.whole_length, epochs.batch_size
    if known.count is None:
        return length
    whole = known.count // size * size
    # A single epoch may have been cut short; of several, the first has not.
    cut_short = len(epochs.of) == 1 and length % size == 0 and length < known.count
    if length not in {known.count, whole} and not cut_short:
        raise InvalidRequestError(
            f"{epochs.of[0][-1].place.file.path.parent}: an epoch has {length} views in batches of"
            f" {size}, but {known.said_by} count {known.count}; give the images that were labelled"
        )
    return known.count


def ids_by_epoch(epochs: Epochs, orders: Orders, ids_file: Path) -> Iterator[SampleIDs]:
    """Find the sample IDs of each batch in lists of whole epochs.

    Raises:
        LabelFileError: the lists have other epochs or lengths.
    """
    stored = [epoch[0].place for epoch in epochs.of]
    _require_same_numbers({place.epoch for place in stored}, set(orders), ids_file, "epoch")
    for epoch in epochs.of:
        ids = orders[epoch[0].place.epoch or 0]
        number = epoch[0].place.epoch
        if len(np.unique(ids)) != len(ids):
            raise LabelFileError(
                f"{ids_file}: epoch {number} names a sample twice; the list is damaged",
                path=ids_file,
            )
        batches = len(ids) / epochs.batch_size
        # The last epoch may have been cut short; every other is whole, except for a dropped last
        # batch.
        cut_short = epoch is epochs.of[-1] and len(epoch) < batches
        if not cut_short and len(epoch) not in {math.floor(batches), math.ceil(batches)}:
            raise LabelFileError(
                f"{ids_file} names {len(ids)} samples of epoch {number}, of which there are"
                f" {len(epoch)} batches of {epochs.batch_size}; the two are not of the same run",
                path=ids_file,
            )
        for batch in epoch:
            start = batch.place.number * epochs.batch_size
            end = start + batch.size
            # A short batch ends with the list, or it is not whole.
            if end > len(ids) or (batch.size < epochs.batch_size and end != len(ids)):
                batch.place.refuse(
                    f"ends at view {end} of epoch {batch.place.epoch}, of which {ids_file.name}"
                    f" names {len(ids)}; the two are not of the same run"
                )
            yield ids[start:end]


def ids_by_batch(batches: Sequence[Batch], orders: Orders, ids_file: Path) -> Iterator[SampleIDs]:
    """Find the sample IDs of each batch in a list for each.

    Raises:
        LabelFileError: the lists have other batches or lengths.
    """
    stored: set[int | None] = {batch.place.number for batch in batches}
    _require_same_numbers(stored, set(orders), ids_file, "batch")
    for batch in batches:
        ids = orders[batch.place.number]
        if len(ids) != batch.size:
            batch.place.refuse(
                f"has {batch.size} views, {ids_file.name} names {len(ids)} samples of it; the two"
                " are not of the same run"
            )
        yield ids


def greedy_seeds(ids: Sequence[SampleIDs]) -> list[int]:
    """Find seeds for batches whose epochs are not recorded.

    A view is identified by its sample and its seed, and partners share the seed: a whole batch must
    have one seed, under which none of its samples occurs yet. Keeping the current seed for as long
    as that holds recovers the epochs: batches of one epoch share no sample, and the first batch of
    the next, unless pruning left a gap there, holds a sample that the epoch before also has.

    Args:
        ids: sample IDs of each batch, in the order of their numbers.
    """
    seeds: list[int] = []
    current, held = 0, set[int]()
    for of_batch in ids:
        listed = of_batch.tolist()
        if not held.isdisjoint(listed):
            current, held = current + 1, set()
        held.update(listed)
        seeds.append(current)
    return seeds


def require_distinct(batches: Sequence[Batch], ids: Sequence[SampleIDs], seeds: list[int]) -> None:
    """Refuse two labels of one view.

    Args:
        batches: batches by seed.
        ids: sample IDs of each.
        seeds: seed of each, never falling.

    Raises:
        LabelFileError: a view has two; names the file and row of the second one.
    """
    numbered = zip(batches, ids, seeds, strict=True)
    for seed, group in groupby(numbered, lambda item: item[2]):
        members = list(group)
        together = np.concatenate([of_batch for _, of_batch, _ in members])
        order = np.argsort(together, kind="stable")
        again = np.flatnonzero(together[order][1:] == together[order][:-1])
        if len(again):
            _name_twice(members, int(order[again + 1].min()), int(seed))


def _name_twice(
    members: Sequence[tuple[Batch, SampleIDs, int]], position: int, seed: int
) -> NoReturn:
    for batch, ids, _ in members:
        if position < len(ids):
            sample = ids[position]
            first = next(other.place for other, of_it, _ in members if sample in of_it)
            batch.place.refuse(
                f"row {position} is sample {sample}, which has a label under seed {seed} already,"
                f" in {first}; fetch both files and their list of samples again, of one run"
            )
        position -= len(ids)
    raise LabelFileError(f"a sample is under seed {seed} twice")


def _require_same_numbers(
    stored: set[int | None], listed: set[int], ids_file: Path, what: str
) -> None:
    unnamed = sorted(number for number in stored if number is not None and number not in listed)
    if unnamed:
        raise LabelFileError(
            f"{ids_file} names no samples of {what} {unnamed[0]}, which is stored; it has"
            f" {len(listed)} lists for {len(stored)}: fetch the list of the same run",
            path=ids_file,
        )
    absent = sorted(listed - stored)
    if absent:
        raise LabelFileError(
            f"{ids_file} names the samples of {what} {absent[0]}, which is not there; fetch its"
            " files, or take it out of that list",
            path=ids_file,
        )


def _usual_size(batches: Sequence[Batch]) -> int:
    sizes, counts = np.unique([batch.size for batch in batches], return_counts=True)
    # Of sizes that are equally frequent, the larger: the shorter one ends an epoch.
    return int(sizes[counts == counts.max()][-1])
