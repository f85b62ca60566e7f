"""Runs a teacher over every view of a data set."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from labelcast.augmentation import AugmentationPolicy
from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError, LabelFileError, LabelValueError, StoreFullError
from labelcast.label_set import RowOrder, SegmentIndex
from labelcast.torch.augmentation import ViewRenderer
from labelcast.torch.samples import ImageReader, SampleTable
from labelcast.views import Views
from labelcast_server.dense_labels import (
    DESCRIPTION_NAME,
    LABELS_NAME,
    DenseLabels,
    Description,
    write_tables,
)
from labelcast_server.neural.device import choose_device

_KEEP_IMAGE_BYTES = 2**30
_MAX_SEEDS = 2**32 - 1


def relabel(
    teacher: nn.Module,
    table: SampleTable,
    policy: AugmentationPolicy | None,
    *,
    seeds: int,
    out: Path,
    teacher_name: str,
    device: str = "auto",
    batch_rows: int = 500,
    progress: bool = True,
) -> DenseLabels:
    """Write the teacher's logits for every (seed, sample), in memory of a few batches.

    Args:
        teacher: images (N, channels, height, width) → logits (N, C); used in eval mode.
        table: the data set.
        policy: how views are made; None labels the samples themselves.
        seeds: augmentation seeds 0 … seeds − 1.
        out: directory; what an earlier run left there is replaced.
        teacher_name: for people.
        device: torch device or "auto".
        batch_rows: views a forward pass.
        progress: show a bar on stderr.

    Raises:
        InvalidRequestError: the teacher is no torch module, or there are too few or many seeds.
        StoreFullError: the disk of `out` has no room for the labels.
        LabelValueError: the teacher gave NaN, infinity or a value beyond fp16; names the view.
        LabelFileError: the teacher has another number of classes than the data set.
    """
    # Named on a command line, it can be anything.
    if not isinstance(teacher, nn.Module):
        raise InvalidRequestError(
            f"the teacher {teacher_name} is of type {type(teacher).__name__}, not torch.nn.Module"
        )
    if not 1 <= seeds <= _MAX_SEEDS:
        raise InvalidRequestError(f"seeds must be 1 to {_MAX_SEEDS}, got {seeds}")
    place = choose_device(device)
    teacher = teacher.to(place).eval()
    classes = len(table.dataset.class_names)
    out.mkdir(parents=True, exist_ok=True)
    _check_room(out, seeds, len(table), classes)
    (out / DESCRIPTION_NAME).unlink(missing_ok=True)
    index = SegmentIndex(table.sample_ids, np.arange(seeds, dtype=np.uint32), RowOrder.SEED_MAJOR)
    written = np.lib.format.open_memmap(
        out / LABELS_NAME, mode="w+", dtype=np.float16, shape=(seeds, len(table), classes)
    )
    labels = written.reshape(-1, classes)
    write_tables(out, index, table.hard_labels())
    renderer = ViewRenderer(policy, table.sample_ids)
    read = table.reader(keep_bytes=_KEEP_IMAGE_BYTES)
    row = 0
    with tqdm(total=len(labels), desc="relabel", unit="view", disable=not progress) as bar:
        for views in _seed_major(index, batch_rows):
            logits = _label(teacher, renderer, read, views, place)
            labels[row : row + len(views)] = _to_fp16(logits, views, classes)
            row += len(views)
            bar.update(len(views))
    written.flush()
    description = Description(
        teacher=module_digest(teacher),
        teacher_name=teacher_name,
        dataset=table.digest(),
        num_classes=classes,
        class_list=table.class_list(),
        policy=policy,
        label_kind=LabelKind.LOGITS,
        temperature=None,
    )
    (out / DESCRIPTION_NAME).write_bytes(description.to_bytes())
    return DenseLabels.open(out)


def module_digest(module: nn.Module) -> str:
    """Identity of a network: sha256 over the names, types, shapes and bytes of its state."""
    hasher = hashlib.sha256(b"labelcast teacher\0")
    for name, tensor in sorted(module.state_dict().items()):
        hasher.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        hasher.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return "sha256:" + hasher.hexdigest()


def _check_room(out: Path, seeds: int, samples: int, classes: int) -> None:
    """Refuse labels that the disk cannot hold: a mapped file that outgrows it dies by SIGBUS."""
    needed = np.dtype(np.float16).itemsize * seeds * samples * classes
    earlier = out / LABELS_NAME
    freed = earlier.stat().st_blocks * 512 if earlier.exists() else 0
    available = shutil.disk_usage(out).free + freed
    if needed > available:
        raise StoreFullError(
            f"the labels need {needed} bytes, {out} has room for {available}; take fewer seeds or"
            " another disk",
            needed=needed,
            available=available,
        )


def _seed_major(index: SegmentIndex, batch_rows: int) -> Iterator[Views]:
    for seed in index.seeds:
        yield from Views.of(index.sample_ids, seed).batches(batch_rows)


@torch.inference_mode()
def _label(
    teacher: nn.Module,
    renderer: ViewRenderer,
    read: ImageReader,
    views: Views,
    device: torch.device,
) -> Tensor:
    partners = renderer.partners(views)
    partner_images = None if partners is views else read(partners.sample_ids).to(device)
    images = renderer.render(views, read(views.sample_ids).to(device), partner_images)
    logits: Tensor = teacher(images)
    return logits.float().cpu()


def _to_fp16(
    logits: Tensor, views: Views, classes: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    if logits.shape != (len(views), classes):
        raise LabelFileError(
            f"the teacher gives labels of shape {tuple(logits.shape[1:])},"
            f" the data set has {classes} classes"
        )
    half = logits.to(torch.float16)
    bad = ~torch.isfinite(half).all(dim=1)
    if bad.any():
        at = int(bad.nonzero()[0])
        raise LabelValueError(
            f"the teacher gives NaN, infinity or a value beyond fp16 for sample ID"
            f" {views.sample_ids[at]}, seed {views.seeds[at]}; check its weights and inputs",
            sample_id=views.sample_ids[at],
            seed=views.seeds[at],
        )
    return half.numpy()
