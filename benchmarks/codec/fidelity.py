"""How much of the teacher is left in decoded labels."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.codec.contract import BenchmarkCodec, Values
from benchmarks.codec.label_task import LabelTask
from labelcast.codec import LabelKind
from labelcast_producers.fitting.sampling import RowNumbers

Chosen = TypeVar("Chosen", bound=BenchmarkCodec)


def measure(codec: BenchmarkCodec, task: LabelTask, rows: RowNumbers) -> dict[str, float | None]:
    """Compare decoded labels of `rows` with the teacher's.

    Returns:
        Means over the rows, at the temperature of the task, in nats and shares: both KL
        divergences (None where infinite, which is what probabilities of exactly zero cost), and
        how often the teacher's likeliest class is the likeliest, or among the five likeliest.
    """
    totals = torch.zeros(4, dtype=torch.float64)
    for block, labels in task.labels(rows):
        decoded = codec.decode(codec.encode(labels, block), block)
        found = compare(labels, decoded, codec.label_kind, temperature=task.temperature)
        totals += found.sum(dim=0)
    names = ("kl_nats", "reverse_kl_nats", "top1_agreement", "top5_agreement")
    means = (totals / len(rows)).tolist()
    return {
        name: mean if math.isfinite(mean) else None for name, mean in zip(names, means, strict=True)
    }


def compare(
    teacher: NDArray[Any], decoded: Values, kind: LabelKind, *, temperature: float = 1.0
) -> torch.Tensor:
    """KL(teacher ‖ decoded), the reverse, top-1 and top-5 agreement of each row: (n, 4).

    Raises:
        ValueError: decoded probabilities, which are those at 1, at another temperature.
    """
    logits = torch.from_numpy(np.asarray(teacher, np.float32))
    log_teacher = torch.log_softmax(logits / temperature, dim=1)
    values = torch.from_numpy(decoded)
    if kind is LabelKind.PROBABILITIES:
        if temperature != 1:
            raise ValueError(f"probabilities at temperature 1 are none at {temperature:g}")
        log_decoded = (values / values.sum(dim=1, keepdim=True)).log()
    else:
        log_decoded = torch.log_softmax(values / temperature, dim=1)
    likeliest = log_teacher.argmax(dim=1)
    five = log_decoded.topk(min(5, values.shape[1]), dim=1).indices
    # Where the weight is zero, so is the term, whatever its logarithm.
    reverse = torch.where(log_decoded.isinf(), 0.0, log_decoded.exp() * (log_decoded - log_teacher))
    columns = [
        (log_teacher.exp() * (log_teacher - log_decoded)).sum(dim=1),
        reverse.sum(dim=1),
        five[:, 0] == likeliest,
        (five == likeliest[:, None]).any(dim=1),
    ]
    return torch.stack([column.double() for column in columns], dim=1)


def choose_best(candidates: Mapping[str, Chosen], task: LabelTask) -> Chosen:
    """The candidate of the least KL on `choice_rows`, with what all of them reached in `choice`."""
    rows = task.choice_rows()
    reached: dict[str, float] = {}
    for name, codec in candidates.items():
        kl = measure(codec, task, rows)["kl_nats"]
        reached[name] = math.inf if kl is None else kl
    best = min(reached, key=lambda name: reached[name])
    chosen = candidates[best]
    chosen.choice |= {"chosen": best, "kl_on_fitted_rows": reached}
    return chosen
