"""The plain loop: a student trained from a system's own files, or beside its teacher.

Files are read and replayed without labelcast. Where the teacher runs at every step, labels are what
it says, in single precision.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.systems.pixels import cutmix, read_folder, resized_crop
from benchmarks.systems.plan import planned_views, policy_of, production_of, stored_steps
from benchmarks.systems.settings import VIEW_SIZE, Scale, System
from benchmarks.systems.teacher import load
from labelcast.torch.images.render_seeded import ViewRenderer


def stored_batches(
    system: System, scale: Scale, seed: int, *, files: Path, images: Path
) -> Iterator[tuple[Tensor, Tensor]]:
    """Views and logits of every step, from the files of a producer.

    Args:
        system: one that stores.
        scale: of the run.
        seed: of the student.
        files: directory of the producer's epochs.
        images: the image folder that it labelled.
    """
    production = production_of(system, scale)
    pictures, orders = read_folder(images), production.orders()
    height, width = pictures.shape[2:]
    units = torch.tensor([height, width, height, width])
    for epoch, number in stored_steps(system, scale, seed):
        path = files / f"epoch_{epoch}" / f"batch_{number}.tar"
        # Files that this benchmark has written itself.
        coords, flips, mix_index, _, box, logits = torch.load(path, weights_only=False)
        chosen = pictures[production.batch(orders[epoch], number)]
        crops = (coords * units).round().int().tolist()
        views = [
            resized_crop(image, crop, VIEW_SIZE) for image, crop in zip(chosen, crops, strict=True)
        ]
        turned = [
            view.flip(2) if flip else view for view, flip in zip(views, flips.tolist(), strict=True)
        ]
        yield cutmix(torch.stack(turned), mix_index, box), logits


def taught_batches(
    system: System, scale: Scale, seed: int, *, teacher: Path, images: Path
) -> Iterator[tuple[Tensor, Tensor]]:
    """Views and logits of every step, from a teacher that runs at every step.

    Args:
        system: one that stores nothing.
        scale: of the run.
        seed: of the student.
        teacher: weights.
        images: the image folder.
    """
    pictures, network = read_folder(images), load(teacher)
    table = np.arange(len(pictures), dtype=np.uint64)
    renderer = ViewRenderer(policy_of(system, scale), table)
    for views in planned_views(system, scale, seed):
        partners = renderer.partners(views).sample_ids.astype(np.int64)
        own = pictures[views.sample_ids.astype(np.int64)]
        shown = renderer.render(views, own, pictures[partners])
        with torch.inference_mode():
            logits = network(shown)
        # A tensor of inference mode may not enter a graph.
        yield shown, logits.clone()
