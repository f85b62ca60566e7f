"""How far a student is from the teacher, on crops of pictures that it has never seen."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.codec.fidelity import compare
from benchmarks.imagenet.parts import TESTED, Part
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.student_views import as_input, load_views
from labelcast.codec import LabelKind

_BLOCK, _LABELS_AT_ONCE = 200, 2000


def photographs_of(place: Place, part: Part) -> tuple[list[str], NDArray[np.int64]]:
    """Photographs of a part, and which of them each crop shows: int64, shape (crops,)."""
    names, of_picture = np.unique(place.pictures(part).stamps, return_inverse=True)
    # numpy 2.0.0 shapes the inverse like its input.
    shown: NDArray[np.int64] = of_picture.reshape(-1)
    pictures = place.teachers(part).index.views().sample_ids.astype(np.int64)
    return names.tolist(), shown[pictures]


@torch.inference_mode()
def compare_student(network: nn.Module, place: Place) -> dict[str, Any]:
    """Compare a student with the teacher.

    Returns:
        By part, means over all crops: KL(teacher ‖ student) in nats, and how often the teacher's
        likeliest class is the student's, or among its five likeliest; and the KL summed over the
        crops of each photograph, in the order of `photographs_of`.
    """
    network.eval()
    return {
        str(part): _compare(partial(_answer, network, load_views(place, part)), place, part)
        for part in TESTED
    }


def _answer(
    network: nn.Module, views: NDArray[np.uint8], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = network(as_input(views[rows])).numpy()
    return logits


def compare_mean_label(place: Place) -> dict[str, Any]:
    """The same of a student that gives every crop the mean of all training labels.

    It has looked at no image: what dense labels teach beyond it is what they say about images.
    """
    training = place.teachers(Part.TRAIN).rows
    mass = np.zeros(training.num_classes)
    for start in range(0, training.num_rows, _LABELS_AT_ONCE):
        block = training.read(start, min(start + _LABELS_AT_ONCE, training.num_rows))
        mass += torch.softmax(torch.from_numpy(block).float(), dim=1).sum(dim=0).numpy()
    logits = np.log(mass / training.num_rows).astype(np.float32)
    return {
        str(part): _compare(lambda rows: np.tile(logits, (len(rows), 1)), place, part)
        for part in TESTED
    }


def _compare(
    logits_of: Callable[[NDArray[np.int64]], NDArray[np.float32]], place: Place, part: Part
) -> dict[str, Any]:
    names, photograph = photographs_of(place, part)
    labels = place.teachers(part).rows
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
