"""Stages are trained by the plan of any run: by ranks, resumed inside a stage, and as sets grow."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from labelcast import LabelClient, LabelSet, Representation
from labelcast.errors import InvalidRequestError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import Batch, ImageFolder, LabelSetSource, SoftLabelLoader
from labelcast_producers.encoding.add_stage import add_stage
from tests.e2e.running_service import RunningService
from tests.e2e.test_staged import images, stage_of, staged

pytestmark = pytest.mark.e2e

__all__ = ["images", "staged"]  # fixtures
EPOCHS = 4
TOGETHER = 4  # views a step of all ranks


@pytest.fixture
def client(
    service: RunningService, staged: tuple[LabelSetDirectory, LabelSetDirectory]
) -> Iterator[LabelClient]:
    for label_set, tag in zip(staged, ("plans:one", "plans:two"), strict=True):
        service.push(label_set, tag)
    with service.client() as client:
        yield client


def loader(
    label_set: LabelSet, images: Path, stage: int, rank: int = 0, ranks: int = 1, **which: bool
) -> SoftLabelLoader:
    grid = label_set.stage_grid(stage, **which)
    return SoftLabelLoader(
        ImageFolder(images),
        LabelSetSource(label_set, Representation.codes()),
        seeds=grid.epochs(EPOCHS),
        sample_ids=grid.sample_ids,
        batch_size=TOGETHER // ranks,
        rank=rank,
        num_ranks=ranks,
    )


def seen(batches: list[Batch]) -> list[tuple[int, int]]:
    return [
        view
        for batch in batches
        for view in zip(batch.views.sample_ids.tolist(), batch.views.seeds.tolist(), strict=True)
    ]


def taken(loader: SoftLabelLoader, count: int) -> list[Batch]:
    batches = iter(loader)
    return [next(batches) for _ in range(count)]


def check_labels(batches: list[Batch], known: LabelSetDirectory) -> None:
    for batch in batches:
        said = known.labels(batch.views.sample_ids, batch.views.seeds)
        np.testing.assert_array_equal(batch.labels.numpy(), said)


def test_two_ranks_train_a_stage_and_one_goes_on_inside_it(
    client: LabelClient, staged: tuple[LabelSetDirectory, LabelSetDirectory], images: Path
) -> None:
    label_set = client.open("plans:two")
    whole = list(loader(label_set, images, 1))
    # Both stages' samples, under each seed again and again.
    assert sorted(seen(whole)) == sorted((i, e % 3) for i in range(16) for e in range(EPOCHS))
    check_labels(whole, staged[1])
    ranks = [loader(label_set, images, 1, rank, 2) for rank in range(2)]
    steps = 6  # inside the second epoch
    begun = [taken(rank, steps) for rank in ranks]
    for batches in begun:
        check_labels(batches, staged[1])
    for step in range(steps):
        both = seen([begun[0][step], begun[1][step]])
        assert sorted(both) == sorted(seen([whole[step]]))
    state = ranks[0].state_dict()
    assert state == ranks[1].state_dict()
    alone = loader(label_set, images, 1)
    alone.load_state_dict(state)
    assert seen(list(alone)) == seen(whole[steps:])


def test_a_set_that_grows_keeps_the_plan_of_its_earlier_stages(
    client: LabelClient, staged: tuple[LabelSetDirectory, LabelSetDirectory], images: Path
) -> None:
    one, two = client.open("plans:one"), client.open("plans:two")
    whole = list(loader(one, images, 0))
    grown = list(loader(two, images, 0))
    assert seen(grown) == seen(whole)
    check_labels(grown, staged[0])
    begun = loader(one, images, 0)
    taken(begun, 3)
    state = begun.state_dict()
    # The label set is another one; the run that began with the earlier one ends with it.
    with pytest.raises(InvalidRequestError, match="open the label set by the digest") as refused:
        loader(two, images, 0).load_state_dict(state)
    assert one.digest in str(refused.value)
    rest = loader(client.open(one.digest), images, 0)
    rest.load_state_dict(state)
    assert seen(list(rest)) == seen(whole[3:])


def test_the_state_of_another_stage_is_refused(client: LabelClient, images: Path) -> None:
    label_set = client.open("plans:two")
    begun = loader(label_set, images, 0)
    taken(begun, 3)
    state = begun.state_dict()
    for which in ({"new": True}, {"new": False}):
        with pytest.raises(InvalidRequestError, match="cannot go on from the state"):
            loader(label_set, images, 1, **which).load_state_dict(state)


def test_what_a_stage_adds_is_a_run_of_its_own(client: LabelClient, images: Path) -> None:
    new = loader(client.open("plans:two"), images, 1, new=True)
    assert sorted(seen(list(new))) == sorted((i, e % 3) for i in range(1, 16, 2) for e in range(4))


def test_a_stage_of_more_seeds_goes_on_where_the_last_one_ended(
    service: RunningService, images: Path, tmp_path: Path
) -> None:
    parts = [
        stage_of(tmp_path / str(at), images, [0, 2, 4, 6], seeds=range(3 * at, 3 * at + 3))
        for at in range(2)
    ]
    first = add_stage(None, parts[0], tmp_path / "one", name="first")
    service.push(add_stage(first, parts[1], tmp_path / "two", name="second"), "plans:seeds")
    with service.client() as client:
        label_set = client.open("plans:seeds")

        def run(stage: int) -> SoftLabelLoader:
            grid = label_set.stage_grid(stage)
            return SoftLabelLoader(
                ImageFolder(images),
                LabelSetSource(label_set, Representation.codes()),
                seeds=grid.seeds.tolist(),
                sample_ids=grid.sample_ids,
                batch_size=2,
            )

        before, after = run(0), run(1)
        earlier, whole = seen(list(before)), seen(list(after))
        assert whole[: len(earlier)] == earlier
        after.load_state_dict(before.state_dict())
        assert seen(list(after)) == whole[len(earlier) :]
        assert {seed for _, seed in whole[len(earlier) :]} == {3, 4, 5}


def test_a_stage_of_other_samples_and_seeds_is_no_grid(images: Path, tmp_path: Path) -> None:
    first = add_stage(None, stage_of(tmp_path / "1", images, [0]), tmp_path / "one", name="first")
    other = stage_of(tmp_path / "2", images, [2], seeds=range(3, 6))
    both = add_stage(first, other, tmp_path / "two", name="second")
    with pytest.raises(InvalidRequestError, match="take what it adds, with new=True, or name its"):
        both.stage_grid(1)
    assert both.stage_grid(1, new=True).seeds.tolist() == [3, 4, 5]
    assert len(both.stage_views(1)) == 6
    assert both.stage_grid(0).epochs(5) == [0, 1, 2, 0, 1]
