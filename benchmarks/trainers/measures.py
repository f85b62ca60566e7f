"""Every measure of training loops."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.comparison import Measure
from benchmarks.serve.label_sets import CLASSES, SEEDS, coded, fitted_codec
from benchmarks.trainers.runs import cpu_seconds_a_step, run, seconds_a_step
from benchmarks.trainers.settings import Loop, Settings, Told
from benchmarks.trainers.student import DESCRIPTION
from labelcast import LabelClient, Representation, Views
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import TrainingPlan
from labelcast_glyphs.local_service import LocalService, local_service

_TAG = "bench:trainers"
# A view of each sample for each of fifty epochs.
_MANY = "bench:many"
_LOOPS = (
    ("plain loop", Loop.PLAIN, 1, 1.05, 1.02),
    ("two DataLoader workers", Loop.WORKERS, 1, 1.05, None),
    ("two DDP ranks with two workers each", Loop.WORKERS, 2, 1.10, None),
)


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        samples: of the label set.
        epochs: of a run; the first is left out of times.
        batch_size: views of a step, of all ranks together.
        fit_steps: of fitting the codec.
        repetitions: of every pair of runs.
    """

    samples: int
    epochs: int
    batch_size: int
    fit_steps: int
    repetitions: int


FULL = Sizes(samples=2560, epochs=3, batch_size=128, fit_steps=300, repetitions=5)
QUICK = Sizes(samples=256, epochs=2, batch_size=64, fit_steps=5, repetitions=1)


def measure(directory: Path, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Rows of the result, each as it is found."""
    fitted = fitted_codec(directory / "codec", codes=8, steps=sizes.fit_steps)
    codec, samples = fitted.codec, sizes.samples
    made = coded(
        directory / "set", codec, samples=samples, sparse=False, seeds=sizes.epochs
    ).on_disk
    many = coded(directory / "many", codec, samples=samples, sparse=False).on_disk
    array = directory / "dense.npy"
    np.save(array, _decoded(made, sizes))
    with local_service(directory / "service") as service:
        with service.registry() as registry:
            registry.push(made, _TAG)
            registry.push(many, _MANY)
        asked = Settings(
            loop=Loop.PLAIN,
            array=None,
            address=service.grpc,
            tag=_TAG,
            samples=sizes.samples,
            epochs=sizes.epochs,
            batch_size=sizes.batch_size,
        )
        for name, loop, ranks, reach, aim in _LOOPS:
            share = replace(asked, loop=loop, num_ranks=ranks, batch_size=sizes.batch_size // ranks)
            pairs = [
                _pair(share, replace(share, array=str(array)), reverse=bool(number % 2))
                for number in range(sizes.repetitions)
            ]
            yield from _loop(name, pairs, reach, aim, ranks)
        yield from _bytes(replace(asked, cache=str(directory / "cache")))
        yield from _resumed(asked, sizes)
        yield _federated(service, sizes)


def _decoded(label_set: LabelSetDirectory, sizes: Sizes) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Labels of every epoch: shape (epochs · samples, C)."""
    reader = label_set.reader(device="cpu", policy=None)
    ids = range(sizes.samples)
    batches = [Views.of(ids, seed) for seed in range(sizes.epochs)]
    return torch.cat(list(reader.over(batches))).numpy().astype(np.float16)


def _pair(ours: Settings, memory: Settings, *, reverse: bool) -> tuple[list[Told], list[Told]]:
    """Both runs, in turns the one and the other first: a machine gets slower as it gets warm."""
    if reverse:
        second = run(memory)
        return run(ours), second
    return run(ours), run(memory)


def _loop(
    name: str,
    pairs: list[tuple[list[Told], list[Told]]],
    reach: float,
    aim: float | None,
    ranks: int,
) -> Iterator[dict[str, Any]]:
    about = {"student": DESCRIPTION, "threads": 1, "ranks": ranks}
    walls = [(1000 * seconds_a_step(ours), 1000 * seconds_a_step(memory)) for ours, memory in pairs]
    measure = Measure(
        name=f"a step, {name}, beside labels in memory",
        unit="milliseconds",
        reach=reach,
        aim=aim,
        lower_is_better=True,
    )
    yield measure.of_turns(walls) | about
    cpu = [(cpu_seconds_a_step(ours), cpu_seconds_a_step(memory)) for ours, memory in pairs]
    spent = [1000 * (ours - memory) for ours, memory in cpu]
    yield (
        Measure(
            name=f"processor time of labels a step, {name}",
            unit="milliseconds",
            lower_is_better=True,
        ).alone(statistics.median(spent), spread=[min(spent), max(spent)])
        | about
    )
    if name.startswith("plain"):
        first = [1000 * ours[0].first_label_seconds for ours, _ in pairs]
        yield Measure(
            name="first label after start", unit="milliseconds", lower_is_better=True
        ).alone(statistics.median(first), spread=[min(first), max(first)])


def _bytes(cached: Settings) -> Iterator[dict[str, Any]]:
    """Bytes a label in the first and the second epoch, of a client that keeps whole shards."""
    (told,) = run(cached)
    for epoch, word in enumerate(("first", "second")):
        yield Measure(
            name=f"bytes a label over the network in the {word} epoch, shards kept",
            unit="bytes",
            reach=0 if epoch else None,
            lower_is_better=True,
        ).alone(told.wire_bytes[epoch] / cached.samples)


def _resumed(asked: Settings, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Seconds to the first label of a run that goes on in the middle of an epoch."""
    asked = replace(asked, epochs=2)
    samples = np.arange(asked.samples, dtype=np.uint64)
    plan = TrainingPlan(samples, range(asked.epochs), batch_size=asked.batch_size)
    middle = list(plan.epoch(1))[len(plan.epoch(1)) // 2]
    going_on = replace(asked, state=plan.state_at(middle.position))

    def first(settings: Settings) -> float:
        return 1000 * run(settings)[0].first_label_seconds

    pairs = [(first(going_on), first(asked)) for _ in range(sizes.repetitions)]
    yield Measure(
        name="first label after a resume in mid-epoch, beside one after a start",
        unit="milliseconds",
        lower_is_better=True,
    ).of_turns(pairs)


def _federated(service: LocalService, sizes: Sizes) -> dict[str, Any]:
    """Bytes of a site that reads all views of its own samples, a quarter of them all."""
    own = [Views.of(range(0, sizes.samples, 4), seed) for seed in range(SEEDS)]
    count = sum(len(views) for views in own)

    def moved(form: Representation) -> float:
        with LabelClient(service.grpc) as client:
            label_set = client.open(_MANY)
            if form == Representation.codes():
                label_set.decoder()
            for _ in label_set.stream(own, form):
                pass
            return client.wire_bytes.total / count

    ours, dense = moved(Representation.codes()), moved(Representation.logits())
    return Measure(
        name="bytes a label of a federated site, codec and codes beside dense labels",
        unit="bytes",
        lower_is_better=True,
    ).figures(ours, dense, ours / dense, views=count, classes=CLASSES)
