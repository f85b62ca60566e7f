"""How far a student is from the teacher, on crops of photographs that it has never seen."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.codec.fidelity import compare
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.student_views import Part, as_input, views_path
from labelcast.codec import LabelKind

_BLOCK = 200


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
    names, photograph = photographs_of(place)
    views = np.load(views_path(place, Part.HELD_OUT), mmap_mode="r")
    labels = place.held_out_labels.rows
    network.eval()
    by_crop = []
    for start in range(0, len(photograph), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(photograph)))
        logits = network(as_input(views[rows])).numpy()
        by_crop.append(compare(labels.gather(rows), logits, LabelKind.LOGITS))
    found = torch.cat(by_crop).numpy()
    kl, _, top1, top5 = found.mean(axis=0).tolist()
    sums = np.bincount(photograph, weights=found[:, 0], minlength=len(names))
    return {
        "kl": kl,
        "top1": top1,
        "top5": top5,
        "kl_by_photograph": [round(value, 4) for value in sums.tolist()],
    }
