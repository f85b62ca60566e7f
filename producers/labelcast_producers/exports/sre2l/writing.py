"""A label set → SRe2L's or LPLD's files, so that existing training scripts run unchanged.

epoch_{e}/batch_{b}.tar        list of six by `torch.save`: coords, flip, mix_index, λ, box, logits
sampler_indices_epoch.json     LPLD only: the samples of every epoch, cut by batch size

SRe2L's files name no samples: its scripts load images in the order of a seeded sampler, so batches
must be those of that order. LPLD's name them: batches are the label set's own.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from labelcast.augmentation import AugmentationPolicy, RecordedPolicy, UnrenderedPolicy
from labelcast.codec import LabelKind
from labelcast.codec.label_decoder import LabelDecoder
from labelcast.errors import (
    InvalidRequestError,
    LabelValueError,
    StoreFullError,
    UnsupportedFormError,
)
from labelcast.label_set import LabelContract, SampleOrder
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.progress import Progress, unwatched
from labelcast.views import Views
from labelcast_producers.exports.sre2l.batches import (
    BatchPlan,
    EpochReader,
    ImagePolicy,
    Layout,
    Positions,
    shows_partners,
    unsupported,
)
from labelcast_producers.formats.batches.orders import sampler_orders
from labelcast_producers.formats.source import PermutationDraws

INDICES_NAME = "sampler_indices_epoch.json"
LOGIT_TYPES = {"float16": torch.float16, "float32": torch.float32}
_BLOCK_BYTES = 2**28
_AUGMENTATION_BYTES = 25
_VIEW_SIZE = 224


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written.

    Attributes:
        directory: directory of the files.
        layout: layout of the files.
        epochs: number of directories.
        batches: number of files.
        views: number of labels.
        notes: one line each on what the scripts must do, or do differently.
    """

    directory: Path
    layout: Layout
    epochs: int
    batches: int
    views: int
    notes: tuple[str, ...]


def export_sre2l(
    label_set: LabelSetDirectory,
    out: Path,
    *,
    batch_size: int,
    draws: PermutationDraws = PermutationDraws.TWO,
    sampler_seed: int = 42,
    layout: str = Layout.SRE2L,
    dtype: torch.dtype = torch.float16,
    image_sizes: NDArray[np.int64] | None = None,
    progress: Progress = unwatched,
) -> ExportReport:
    """Write a label set as files for existing scripts.

    For an import with a raw codec, every field gets its original bits; crops of images of
    several sizes do if `image_sizes` is given, and cover the same pixels without it.

    Args:
        label_set: logits of any codec; sample IDs are positions in the sorted list of images, and
            seeds are epochs.
        out: output directory, missing or empty; it appears when everything is written.
        batch_size: batch size of the script.
        draws: permutations that the script's torch draws per epoch, ONE or TWO.
        sampler_seed: seed of the script's sampler.
        layout: "sre2l" or "lpld".
        dtype: type of the logits, float16 or float32.
        image_sizes: int64, shape (S, 2): height and width of every image, in the order of the IDs.
        progress: called as labels are written.

    Raises:
        UnsupportedFormError: the files have no place for something in this label set.
        InvalidRequestError: another batch size, sampler or layout is needed, `out` is not empty, or
            images have other sizes.
        LabelValueError: a logit overflows half precision.
        StoreFullError: the disk has no room.
    """
    if layout not in set(Layout) or draws is PermutationDraws.AUTO or batch_size < 1:
        raise InvalidRequestError(
            "an export needs layout sre2l or lpld, one or two draws, and a batch size above 0"
        )
    if dtype not in LOGIT_TYPES.values():
        raise InvalidRequestError(f"labels are written in {' or '.join(LOGIT_TYPES)}, not {dtype}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidRequestError(f"{out} exists already; use a new or empty directory")
    contract = label_set.manifest.contract
    reader = EpochReader(label_set, _expressible(contract), image_sizes)
    plan = BatchPlan(reader.policy, Layout(layout), batch_size)
    orders = sampler_orders(reader.samples, draws, sampler_seed)
    # Written beside its place: scripts must never find half an epoch.
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _require_room(partial, label_set.manifest.num_labels, contract.num_classes * dtype.itemsize)
        _write(partial, label_set, reader, plan, orders, Layout(layout), dtype, progress)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return ExportReport(
        directory=out,
        layout=Layout(layout),
        epochs=int(np.count_nonzero(plan.counts)),
        batches=sum(plan.counts),
        views=label_set.manifest.num_labels,
        notes=tuple(_notes(contract, reader.policy)),
    )


def _expressible(contract: LabelContract) -> ImagePolicy:
    policy = contract.policy
    if contract.label_kind is not LabelKind.LOGITS:
        unsupported(f"this label set holds {contract.label_kind}, the files raw logits")
    if isinstance(policy, UnrenderedPolicy):
        # Our loader renders images too.
        raise UnsupportedFormError(
            f"the files hold crops of images, the views of this label set are {policy.meaning}:"
            " read its labels by sample ID and seed instead, with labelcast.open(directory)"
        )
    if not isinstance(policy, AugmentationPolicy | RecordedPolicy):
        unsupported("the files hold crops of images, which this label set's views are not")
    if isinstance(policy, RecordedPolicy):
        extra = {"RandAugment": policy.operations > 0, "cutout": policy.cutout}
    else:
        per_view = shows_partners(policy) and not policy.mix_batch
        extra = {"rotation": policy.rotation_degrees > 0, "a partner drawn for each": per_view}
    extra["shuffled patches"] = policy.patch_grid > 1
    held = [name for name, holds in extra.items() if holds]
    if held:
        unsupported(f"views of this label set have {' and '.join(held)}, which files cannot say")
    return policy


def _write(
    directory: Path,
    label_set: LabelSetDirectory,
    reader: EpochReader,
    plan: BatchPlan,
    orders: Iterator[Positions],
    layout: Layout,
    dtype: torch.dtype,
    progress: Progress,
) -> None:
    decoder, opening = label_set.decoder(), "{"
    written, total = 0, label_set.manifest.num_labels
    progress(written, total)
    for seed in range(reader.seeds):
        epoch, order = reader.read(seed), next(orders)
        batches = plan.batches(epoch, order)
        if not batches:
            continue
        files = directory / f"epoch_{seed}"
        files.mkdir()
        labels = _labels(label_set, decoder, seed, batches, dtype)
        for number, (batch, logits) in enumerate(zip(batches, labels, strict=True)):
            torch.save([*plan.fields(epoch, batch), logits], files / f"batch_{number}.tar")
            written += len(batch)
            progress(written, total)
        if layout is Layout.LPLD:
            # Epoch by epoch: all of them as Python integers take gigabytes.
            listed = json.dumps(plan.listed(epoch, order, batches))
            with (directory / INDICES_NAME).open("a") as indices:
                indices.write(f'{opening}"{seed}": {listed}')
            opening = ", "
    if layout is Layout.LPLD:
        with (directory / INDICES_NAME).open("a") as indices:
            indices.write("}")


def _labels(
    label_set: LabelSetDirectory,
    decoder: LabelDecoder,
    seed: int,
    batches: list[Positions],
    dtype: torch.dtype,
) -> Iterator[torch.Tensor]:
    """Logits of each batch: shape (B, C)."""
    # Packed rows are read for many batches at once: each batch is scattered over the whole epoch,
    # and chunks are checked whenever they are read.
    stride = label_set.manifest.segments[0].codes.stride
    most = max(1, _BLOCK_BYTES // (stride * max(map(len, batches))))
    for first in range(0, len(batches), most):
        block = batches[first : first + most]
        rows, at = label_set.gather(Views.of(np.concatenate(block), seed)), 0
        for batch in block:
            labels = decoder.decode(rows[at : at + len(batch)], Views.of(batch, seed))
            logits = torch.from_numpy(labels).to(dtype)
            if not logits.isfinite().all():
                raise LabelValueError(
                    f"logits under seed {seed} overflow half precision; write --dtype float32 (in"
                    " Python: dtype=torch.float32)"
                )
            yield logits
            at += len(batch)


def _require_room(directory: Path, views: int, label_bytes: int) -> None:
    needed = views * (label_bytes + _AUGMENTATION_BYTES)
    available = shutil.disk_usage(directory).free
    if needed > available:
        raise StoreFullError(
            f"the files need {needed} bytes, {directory.parent} has room for {available}",
            needed=needed,
            available=available,
        )


def _notes(contract: LabelContract, policy: ImagePolicy) -> Iterator[str]:
    if (policy.view_height, policy.view_width) != (_VIEW_SIZE, _VIEW_SIZE):
        yield (
            f"views have {policy.view_height}×{policy.view_width} pixels: the script must crop to"
            f" that, not to {_VIEW_SIZE}×{_VIEW_SIZE}"
        )
    if isinstance(policy, AugmentationPolicy):
        yield "scripts round these crops to whole pixels of the images, and resize as Pillow does"
    ends = contract.temperatures
    if ends is not None:
        yield f"labels are right at temperatures from {ends.low:g} to {ends.high:g}; scripts use 20"
    if contract.sample_order is SampleOrder.UNVERIFIED:
        yield "the order of the samples was never verified, and these files depend on it"
