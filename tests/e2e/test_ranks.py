"""Two ranks train over a service, one is killed in mid-epoch, and the run goes on."""

import json
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.torch import TrainingPlan
from labelcast.torch.label_reader import TorchLabelReader
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService, eventually
from tests.e2e.scraping import scrape
from tests.e2e.training_rank import Settings, ask_ranks, train_as
from tests.factories.warm_process import warm_process

pytestmark = pytest.mark.e2e

NUM_SAMPLES, CLASSES, SEEDS = 101, 20, [3, 0, 3]
FIRST_AND_STEP = 10**12, 7
STEPS_OF_EPOCH = 9  # of 12 views, of which the last has 5

Given = list[dict[str, Any]]


@pytest.fixture(scope="module")
def known(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> KnownLabelSet:
    made = known_label_set(
        tmp_path_factory.mktemp("ranks"),
        "vqae",
        num_samples=NUM_SAMPLES,
        num_seeds=2,
        num_classes=CLASSES,
        seed=5,
        first_and_step=FIRST_AND_STEP,
    )
    service.push(made.on_disk, "ranks")
    return made


@pytest.fixture
def settings(service: RunningService, known: KnownLabelSet, tmp_path: Path) -> Settings:
    """A run of 27 steps."""
    return settings_of(service, known, tmp_path)


def settings_of(service: RunningService, known: KnownLabelSet, directory: Path) -> Settings:
    return Settings(
        directory=str(directory),
        name="first",
        address=service.grpc,
        tag=known.on_disk.digest,
        first_and_step=FIRST_AND_STEP,
        num_samples=NUM_SAMPLES,
        class_names=[f"class {number}" for number in range(CLASSES)],
        seeds=SEEDS,
        batch_size=6,
        num_ranks=2,
    )


def run(settings: Settings, meanwhile: Callable[[], None] | None = None) -> list[int]:
    """Run all ranks; the exit status of each. Once the last one is gone, so is the run."""
    with ExitStack() as stack:
        ranks = [
            stack.enter_context(warm_process(train_as, settings, rank))
            for rank in range(settings.num_ranks)
        ]
        if meanwhile is not None:
            meanwhile()
        if ranks[-1].wait(200):
            for process in ranks[:-1]:
                process.kill()
        return [process.wait(60) for process in ranks]


def given(settings: Settings) -> Given:
    """Steps of all ranks of a part of the run."""
    return [
        json.loads(line)
        for rank in range(settings.num_ranks)
        for line in settings.log(rank).read_text().splitlines()
    ]


def views(steps: Given) -> Counter[tuple[int, int]]:
    """Views that count, each as often as it came."""
    return Counter(
        (sample_id, seed)
        for step in steps
        for sample_id, seed, repeated in zip(
            step["sample_ids"], step["seeds"], step["repeated"], strict=True
        )
        if not repeated
    )


def every_view_once() -> Counter[tuple[int, int]]:
    return Counter(
        (FIRST_AND_STEP[0] + FIRST_AND_STEP[1] * number, seed)
        for seed in SEEDS
        for number in range(NUM_SAMPLES)
    )


def assert_right_labels(known: KnownLabelSet, steps: Given) -> None:
    segment = known.on_disk.index().segments[0]
    for step in steps:
        asked = type(known.views).of(step["sample_ids"], step["seeds"])
        at, stored = segment.rows(asked)
        assert stored.all()
        np.testing.assert_allclose(np.array(step["labels"]), known.labels[at], atol=1e-4)


@pytest.mark.parametrize("num_ranks", [2, 1])
def test_a_killed_rank_costs_what_came_after_the_last_checkpoint(
    settings: Settings, known: KnownLabelSet, num_ranks: int
) -> None:
    killed_at = STEPS_OF_EPOCH + 5
    statuses = run(replace(settings, die_at=killed_at))
    assert statuses[-1] == -signal.SIGKILL
    assert statuses[0] != 0
    state = torch.load(settings.checkpoint, weights_only=True)["loader"]
    kept_steps = killed_at // settings.save_every * settings.save_every
    assert (state["epoch"], state["row"]) == (1, (kept_steps - STEPS_OF_EPOCH) * 12)
    first = given(settings)
    lost = [step for step in first if step["state_before"] >= [state["epoch"], state["row"]]]
    assert len(lost) >= settings.num_ranks
    kept = [step for step in first if step not in lost]

    second = replace(settings, name="second", batch_size=12 // num_ranks, num_ranks=num_ranks)
    assert run(second) == [0] * num_ranks
    rest = given(second)
    assert views(kept) + views(rest) == every_view_once()
    # Every rank made every step, and what was lost came again.
    assert (
        len(kept + rest) == kept_steps * 2 + (len(SEEDS) * STEPS_OF_EPOCH - kept_steps) * num_ranks
    )
    assert not views(lost) - views(rest)
    assert_right_labels(known, first + rest)


def test_what_torch_says_of_ranks_is_compared(tmp_path: Path) -> None:
    with ExitStack() as stack:
        ranks = [
            stack.enter_context(warm_process(ask_ranks, tmp_path / "meeting", rank))
            for rank in range(2)
        ]
        for process in ranks:
            assert process.wait(200) == 0, process.output(0)
        printed = [process.output(0)[0] for process in ranks]
    for own, lines in enumerate(printed):
        untold, swapped, *right = lines.splitlines()
        assert f"rank {own} of 2, and the loader was told of no others; give rank= and" in untold
        assert f"told rank={1 - own}; give rank=torch.distributed.get_rank()" in swapped
        assert right == [f"({own}, 2)", "(0, 1)", "(2, 4)"]


def kill_everything(service: RunningService) -> None:
    service.processes()  # All of them are up.
    service.kill_all()
    service.start()


def kill_the_worker(service: RunningService) -> None:
    (worker,) = service.processes().workers
    worker.kill()


@pytest.mark.parametrize("fault", [kill_everything, kill_the_worker])
def test_a_service_killed_in_mid_epoch_costs_a_pause(
    fragile: RunningService,
    known: KnownLabelSet,
    tmp_path: Path,
    fault: Callable[[RunningService], None],
) -> None:
    fragile.push(known.on_disk, "ranks")
    # So slow a reader asks for little ahead: most labels are still with the service.
    slow = replace(settings_of(fragile, known, tmp_path), wait_at=11, rows_in_flight=12)

    def meanwhile() -> None:
        eventually(
            lambda: all(steps_logged(slow, rank) == 12 for rank in range(2)), "ranks wait", 120
        )
        fault(fragile)
        slow.go_on.touch()

    assert run(slow, meanwhile) == [0, 0]
    steps = given(slow)
    assert len(steps) == 2 * len(SEEDS) * STEPS_OF_EPOCH
    assert views(steps) == every_view_once()
    assert_right_labels(known, steps)


def steps_logged(settings: Settings, rank: int) -> int:
    log = settings.log(rank)
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_a_reader_that_is_cancelled_leaves_no_stream_and_goes_on_where_it_was(
    fragile: RunningService, known: KnownLabelSet
) -> None:
    fragile.push(known.on_disk, "ranks")
    ids = FIRST_AND_STEP[0] + FIRST_AND_STEP[1] * np.arange(NUM_SAMPLES, dtype=np.uint64)
    plan = TrainingPlan(ids, SEEDS, batch_size=8)
    with fragile.client(rows_in_flight=16) as client:
        label_set = client.open("ranks")
        reader = label_set.reader(device="cpu", policy=label_set.contract.policy)
        assert isinstance(reader, TorchLabelReader)
        read: Any = reader.over(plan.batches)
        first = [next(read) for _ in range(5)]
        read.close()
        eventually(lambda: scrape(fragile)["labelcast_open_streams"] == 0, "the stream ends")
        going_on = plan.starting(list(plan)[5].position)
        labels = torch.cat([*first, *reader.over(going_on.batches)])
    asked = [planned.views for planned in plan]
    rows = np.concatenate([known.on_disk.index().segments[0].rows(views)[0] for views in asked])
    np.testing.assert_allclose(labels.numpy(), known.labels[rows], atol=1e-4)
