"""What students ask for: forms, sizes, pauses and changes of mind, drawn from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.chaos.catalog import set_named
from benchmarks.chaos.label_sets import TEMPERATURE, SpelledSet
from benchmarks.chaos.sequences import SpelledSequences
from labelcast import Precision, Representation, Views
from labelcast.plans import Padding, Plan, PlanBatches, SequencePlan

FP32 = Precision.FP32
_PAUSE_SECONDS = 0.3
_SHARE_OF_PLANS = 0.35
# Name, share of all streams.
_KINDS = {
    "codes": 0.12,
    "wide": 0.42,
    "dense": 0.14,
    "narrow dense": 0.08,
    "single rows": 0.08,
    "probabilities": 0.06,
    "top-k": 0.10,
}


# Of students of sequences.
_KINDS_OF_SEQUENCES = {"sequences": 0.75, "dense sequences": 0.25}


class BatchesError(Exception):
    """Raised by a student's own batches: it must come back to that student."""


@dataclass(frozen=True, eq=False)
class Job:
    """One stream.

    Attributes:
        kind: in reports.
        known: label set.
        representation: form.
        batches: row numbers of each batch, in order.
        rows_in_flight: read-ahead of the client.
        raise_at: batch in whose place the student's own iterable raises; None for never.
        leave_at: batch after which the student leaves; None for never.
        read_pauses: batches before which the iterable sleeps.
        use_pauses: batches after which the student sleeps.
        planned: the same batches as a plan, where the student asks for one.
    """

    kind: str
    known: SpelledSet
    representation: Representation
    batches: list[NDArray[np.int64]]
    rows_in_flight: int
    raise_at: int | None
    leave_at: int | None
    read_pauses: frozenset[int]
    use_pauses: frozenset[int]
    planned: PlanBatches[Plan] | PlanBatches[SequencePlan] | None

    @property
    def pause_seconds(self) -> float:
        """Length of one pause."""
        return _PAUSE_SECONDS

    def views(self) -> Iterator[Views | float]:
        """Batches as they are asked for; a float is a pause in seconds."""
        for number, batch in enumerate(self.batches):
            if number == self.raise_at:
                raise BatchesError(f"batch {number}")
            if number in self.read_pauses:
                yield self.pause_seconds
            yield self.known.views(batch)


def next_job(random: np.random.Generator, scale: float, *, sequences: bool = False) -> Job:
    """Draw one.

    Args:
        random: of the student.
        scale: of the number of rows.
        sequences: ask for sequences of tokens alone.
    """
    kinds = _KINDS_OF_SEQUENCES if sequences else _KINDS
    kind = str(random.choice(list(kinds), p=list(kinds.values())))
    families, forms, sizes, rows = _choices(kind)
    family, size = str(random.choice(families)), int(random.choice(sizes))
    known = set_named(f"chaos:{family}-{random.choice(['a', 'b'])}")
    total = max(size, int(scale * random.uniform(*rows)))
    planned: PlanBatches[Plan] | PlanBatches[SequencePlan] | None = None
    if random.random() < _SHARE_OF_PLANS:
        if isinstance(known, SpelledSequences):
            planned = known.planned(random, total, size)
        else:
            planned = _planned(random, known, total, size)
        batches = [known.at(views) for views in planned]
    elif isinstance(known, SpelledSequences):
        batches = known.spans(random, total)
    else:
        batches = _listed(random, known, total, size)
    mood = random.random()
    some = int(random.integers(len(batches)))
    pauses = frozenset(random.integers(len(batches), size=2).tolist())
    return Job(
        kind=kind if planned is None else f"{kind} by plan",
        known=known,
        representation=forms[int(random.integers(len(forms)))],
        batches=batches,
        rows_in_flight=int(random.choice([300, 2048, 16_384, 16_384])),
        raise_at=some if planned is None and mood < 0.05 else None,
        leave_at=some if 0.05 <= mood < 0.13 else None,
        read_pauses=pauses if 0.13 <= mood < 0.23 else frozenset(),
        use_pauses=pauses if 0.20 <= mood < 0.30 else frozenset(),
        planned=planned,
    )


def _listed(
    random: np.random.Generator, known: SpelledSet, total: int, size: int
) -> list[NDArray[np.int64]]:
    """In runs of neighbours and at random, with repetitions."""
    if random.random() < 0.3:
        at = (int(random.integers(len(known))) + np.arange(total)) % len(known)
    else:
        at = random.integers(len(known), size=total)
    return [at[start : start + size] for start in range(0, total, size)]


def _planned(
    random: np.random.Generator, known: SpelledSet, total: int, size: int
) -> PlanBatches[Plan]:
    """Of all samples or some, by one of several ranks, from anywhere on."""
    samples = np.arange(known.num_samples)
    if random.random() < 0.5:
        samples = random.permutation(samples)[: int(random.integers(10, known.num_samples))]
    num_ranks = int(random.integers(1, 4))
    epochs = 2 + total * num_ranks // len(samples)
    plan = Plan(
        known.views(samples).sample_ids,
        known.views(random.integers(known.num_seeds, size=epochs) * known.num_samples).seeds,
        order_key=int(random.integers(2**62)) if random.random() < 0.9 else None,
        rank=int(random.integers(num_ranks)),
        num_ranks=num_ranks,
        padding=Padding(str(random.choice(list(Padding)))),
    )
    start = int(random.integers(len(plan) - min(total, len(plan)) + 1))
    return plan.batches(size, start=start, stop=min(start + total, len(plan)))


def _choices(
    kind: str,
) -> tuple[list[str], list[Representation], list[int], tuple[int, int]]:
    codes, dense = Representation.codes(), [Representation.logits(), Representation.logits(FP32)]
    match kind:
        case "codes":
            return ["narrow", "vqae"], [codes], [1000, 8192], (50_000, 500_000)
        # Rows of 2,000 bytes make many requests, which are written in a burst at the beginning.
        case "wide":
            return ["wide"], [codes], [50, 131, 1000], (1_500, 9_000)
        case "dense":
            return ["vqae", "wide"], dense, [50, 131, 1000], (500, 3_000)
        case "narrow dense":
            return ["narrow"], dense, [131, 1000, 8192], (5_000, 30_000)
        case "single rows":
            return ["wide", "narrow"], [codes, *dense], [1, 7], (50, 300)
        case "sequences":
            return ["text"], [codes], [128, 1000], (3_000, 100_000)
        case "dense sequences":
            return ["text"], dense, [128, 1000], (1_000, 20_000)
        case "probabilities":
            forms = [
                Representation.probabilities(TEMPERATURE),
                Representation.probabilities(TEMPERATURE, FP32),
            ]
            return ["vqae", "wide", "narrow"], forms, [50, 131, 1000], (300, 1_500)
        case _:
            forms = [Representation.top_k(k, TEMPERATURE) for k in (1, 4)]
            return ["vqae", "wide", "narrow"], forms, [50, 131, 1000], (500, 4_000)
