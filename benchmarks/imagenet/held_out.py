"""How far a student is from the teacher, on crops of photographs that it has never seen."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.codec.fidelity import compare
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.student_views import Part, as_input, views_path
from labelcast.codec import LabelKind

_BLOCK, _LABELS_AT_ONCE = 200, 2000


def photographs_of(place: Place) -> tuple[list[str], NDArray[np.int64]]:
    """Held-out photographs, and which of them each held-out crop shows: int64, shape (crops,)."""
    names, of_picture = np.unique(place.held_out_pictures.stamps, return_inverse=True)
    # numpy 2.0.0 shapes the inverse like its input.
    shown: NDArray[np.int64] = of_picture.reshape(-1)
    pictures = place.held_out_labels.index.views().sample_ids.astype(np.int64)
    return names.tolist(), shown[pictures]


@torch.inference_mode()
def compare_on_held_out(network: nn.Module, place: Place) -> dict[str, Any]:
    """Compare a student with the teacher.

    Returns:
        Means over all crops: KL(teacher ‖ student) in nats, and how often the teacher's likeliest
        class is the student's, or among its five likeliest; and the KL summed over the crops of
        each photograph, in the order of `photographs_of`.
    """
    views = np.load(views_path(place, Part.HELD_OUT), mmap_mode="r")
    network.eval()
    return _compare(lambda rows: network(as_input(views[rows])).numpy(), place)


def compare_mean_label(place: Place) -> dict[str, Any]:
    """The same of a student that gives every crop the mean of all training labels.

    It has looked at no image: what dense labels teach beyond it is what they say about images.
    """
    training = place.training_labels.rows
    mass = np.zeros(training.num_classes)
    for start in range(0, training.num_rows, _LABELS_AT_ONCE):
        block = training.read(start, min(start + _LABELS_AT_ONCE, training.num_rows))
        mass += torch.softmax(torch.from_numpy(block).float(), dim=1).sum(dim=0).numpy()
    logits = np.log(mass / training.num_rows).astype(np.float32)
    return _compare(lambda rows: np.tile(logits, (len(rows), 1)), place)


def _compare(
    logits_of: Callable[[NDArray[np.int64]], NDArray[np.float32]], place: Place
) -> dict[str, Any]:
    names, photograph = photographs_of(place)
    labels = place.held_out_labels.rows
    by_crop = []
    for start in range(0, len(photograph), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(photograph)))
        by_crop.append(compare(labels.gather(rows), logits_of(rows), LabelKind.LOGITS))
    found = torch.cat(by_crop).numpy()
    kl, _, top1, top5 = found.mean(axis=0).tolist()
    sums = np.bincount(photograph, weights=found[:, 0], minlength=len(names))
    return {
        "kl": kl,
        "top1": top1,
        "top5": top5,
        "kl_by_photograph": [round(value, 4) for value in sums.tolist()],
    }
