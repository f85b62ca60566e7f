"""Runs that were cut short in this process, and the files that let them go on."""

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from labelcast.errors import BusyError, InvalidRequestError, LabelFileError, StoreFullError
from labelcast.identifiers import digest_from, digest_from_hash
from labelcast.label_set import RowOrder, index_of_cells
from labelcast_producers.dense.labels import DESCRIPTION_NAME, LABELS_NAME, DenseLabels
from labelcast_producers.formats.output.dense import PROGRESS_NAME
from labelcast_producers.relabel.finished_batches import FinishedBatches
from labelcast_producers.relabel.label_writer import LabelWriter
from labelcast_producers.relabel.plan import Plan
from labelcast_producers.relabel.recipes import RECIPE_NAME
from tests.factories.relabelling import (
    BATCH_ROWS,
    EPOCHS,
    RECIPE,
    SAMPLES,
    SmallTeacher,
    label,
    stored,
)

BATCHES = EPOCHS * -(-SAMPLES // BATCH_ROWS)


class Interrupted(SmallTeacher):
    """Stops the run at its `at`-th batch."""

    def __init__(self, at: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._at = at

    def forward(self, images: Tensor) -> Tensor:
        if self.shown == self._at:
            raise KeyboardInterrupt
        return super().forward(images)


class Changed(SmallTeacher):
    """Has the weights of `SmallTeacher`, and uses them otherwise."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(1 - images)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    label(out)
    return out


def interrupt(out: Path, at: int = 20) -> None:
    with pytest.raises(KeyboardInterrupt):
        label(out, Interrupted(at))


@pytest.mark.parametrize("at", [1, 6, 20, BATCHES - 1])
def test_an_interrupted_run_does_only_what_is_left(tmp_path: Path, whole: Path, at: int) -> None:
    interrupt(tmp_path, at)
    with pytest.raises(LabelFileError, match="finish"):
        DenseLabels.open(tmp_path)
    teacher = SmallTeacher()
    label(tmp_path, teacher)
    # One batch is labelled again, to see that the teacher is still the same.
    assert teacher.shown == BATCHES - at + 1
    assert stored(tmp_path) == stored(whole)
    assert not list(tmp_path.glob("*progress*"))


def test_a_run_can_be_interrupted_again_and_again(tmp_path: Path, whole: Path) -> None:
    for _ in range(4):
        interrupt(tmp_path, 10)
    teacher = SmallTeacher()
    label(tmp_path, teacher)
    assert teacher.shown == BATCHES - (10 + 3 * 9) + 1
    assert stored(tmp_path) == stored(whole)


def test_an_unfinished_run_of_other_settings_is_kept(tmp_path: Path, whole: Path) -> None:
    interrupt(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    others: list[dict[str, Any]] = [
        {"batch_rows": BATCH_ROWS + 1},
        {"recipe": replace(RECIPE, epochs=EPOCHS + 1)},
        {"recipe": replace(RECIPE, prune=2)},
        {"recipe": replace(RECIPE, flip=0)},
        {"teacher": SmallTeacher(seed=1)},
    ]
    for other in others:
        with pytest.raises(InvalidRequestError, match="--fresh"):
            label(tmp_path, **other)
    with pytest.raises(InvalidRequestError, match=r"gave other labels .*--fresh"):
        label(tmp_path, Changed())
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    teacher = Changed()
    label(tmp_path, teacher, fresh=True)
    assert teacher.shown == BATCHES
    assert stored(tmp_path) != stored(whole)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format":"labelcast/recipe/1"}'])
def test_damaged_progress_is_refused(tmp_path: Path, content: bytes) -> None:
    interrupt(tmp_path)
    (tmp_path / "progress-0.json").write_bytes(content)
    with pytest.raises(InvalidRequestError, match=r"damaged; start over with --fresh"):
        label(tmp_path)
    label(tmp_path, fresh=True)


def test_labels_that_are_gone_are_made_again(tmp_path: Path, whole: Path) -> None:
    for spoil in (Path.unlink, lambda path: os.truncate(path, 200)):
        interrupt(tmp_path)
        spoil(tmp_path / LABELS_NAME)
        teacher = SmallTeacher()
        label(tmp_path, teacher)
        assert teacher.shown == BATCHES
        assert stored(tmp_path) == stored(whole)


def test_a_run_that_was_killed_while_it_cleaned_up_is_done(tmp_path: Path, whole: Path) -> None:
    interrupt(tmp_path)
    progress = (tmp_path / "progress-0.json").read_bytes()
    label(tmp_path)
    settings = digest_from(progress.decode().split('"settings":"')[1].split('"')[0])
    kept = FinishedBatches(tmp_path, settings)
    kept.write(0, np.arange(BATCHES), rows=SAMPLES * EPOCHS)
    (tmp_path / ".progress-3.json.17-1.partial").write_bytes(b"half")
    teacher = SmallTeacher()
    label(tmp_path, teacher)
    assert teacher.shown == 1
    assert stored(tmp_path) == stored(whole)
    assert not list(tmp_path.glob("*progress*"))


def test_a_finished_run_is_replaced(tmp_path: Path, whole: Path) -> None:
    label(tmp_path, SmallTeacher(seed=5))
    interrupt(tmp_path, 1)
    assert not (tmp_path / DESCRIPTION_NAME).exists()
    assert not (tmp_path / RECIPE_NAME).exists()
    label(tmp_path)
    assert stored(tmp_path) == stored(whole)


def test_a_run_is_not_replaced_while_it_writes(tmp_path: Path, whole: Path) -> None:
    refused: list[str] = []

    class Beside(SmallTeacher):
        def forward(self, images: Tensor) -> Tensor:
            if self.shown == 5:
                with pytest.raises(BusyError, match="wait until it is done, or give") as error:
                    label(tmp_path, Changed(), fresh=True)
                refused.append(str(error.value))
            return super().forward(images)

    label(tmp_path, Beside())
    assert len(refused) == 1
    assert stored(tmp_path) == stored(whole)


def test_the_progress_of_an_import_is_not_left_beside_other_labels(tmp_path: Path) -> None:
    (tmp_path / PROGRESS_NAME).write_text('{"identity": "sha256:0", "rows": 3}')
    interrupt(tmp_path)
    assert not (tmp_path / PROGRESS_NAME).exists()


def test_pruned_views_have_the_labels_that_they_have_unpruned(tmp_path: Path) -> None:
    recipe = replace(RECIPE, patch_grid=1)
    # 45 batches, of which 18 are 3 seeds and 3 of the 5 batches of the fourth.
    pruned, kept = replace(recipe, prune=2.5), replace(recipe, prune=2.5).kept_views(SAMPLES)
    assert kept.present is not None
    with pytest.raises(KeyboardInterrupt):
        label(tmp_path / "pruned", Interrupted(3), recipe=pruned, batch_rows=SAMPLES)
    full = label(tmp_path / "full", recipe=recipe)
    dense = label(tmp_path / "pruned", recipe=pruned, batch_rows=SAMPLES)
    assert dense.rows.num_rows == len(kept.present) == 3 * SAMPLES + 24
    assert dense.index.present is not None
    assert np.array_equal(dense.index.present, kept.present)
    views = dense.index.views()
    rows, known = full.index.rows(views)
    assert known.all()
    expected, labels = full.rows.gather(rows), dense.rows.gather(np.arange(dense.rows.num_rows))
    assert np.allclose(expected, labels, rtol=2e-3, atol=2e-3)


@given(
    samples=st.integers(1, 30),
    seeds=st.integers(1, 6),
    batch_rows=st.integers(1, 40),
    missing=st.none() | st.sets(st.integers(0, 179)),
)
def test_batches_cover_every_row_once_and_cross_no_seed(
    samples: int, seeds: int, batch_rows: int, missing: set[int] | None
) -> None:
    present = None
    if missing is not None:
        present = np.setdiff1d(np.arange(samples * seeds), np.array(sorted(missing), np.int64))
    index = index_of_cells(
        np.arange(samples, dtype=np.uint64),
        np.arange(seeds, dtype=np.uint32),
        RowOrder.SEED_MAJOR,
        present,
    )
    plan = Plan(index, batch_rows)
    at = 0
    for batch in range(plan.num_batches):
        first, end = plan.rows(batch)
        assert first == at
        assert 0 < end - first <= batch_rows
        assert len(np.unique(index.views_at(np.arange(first, end)).seeds)) == 1
        assert plan.count_rows(np.array([batch])) == end - first
        at = end
    assert at == index.num_rows == plan.count_rows(np.arange(plan.num_batches))


@given(st.lists(st.sets(st.integers(0, 40)), min_size=1, max_size=4))
def test_progress_of_all_processes_adds_up(
    tmp_path_factory: pytest.TempPathFactory, shares: list[set[int]]
) -> None:
    kept = FinishedBatches(tmp_path_factory.mktemp("progress"), digest_from_hash(bytes(32)))
    for rank, share in enumerate(shares):
        kept.write(rank, np.array(sorted(share), dtype=np.int64), rows=0)
    assert kept.read(41).tolist() == sorted(set().union(*shares))
    kept.clear(but=0)
    assert kept.read(41).tolist() == sorted(shares[0])
    kept.clear()
    assert not kept.read(41).size


def test_the_file_is_what_numpy_would_have_written(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float16)
    np.save(tmp_path / "numpy.npy", labels)
    writer = LabelWriter(tmp_path / "ours.npy", labels.shape)
    assert not writer.exists()
    writer.create()
    rows = labels.reshape(-1, 5)
    with writer.opened() as opened:
        for first in (8, 0, 4):
            opened.write(first, rows[first : first + 4])
        assert np.array_equal(opened.read(3, 7), rows[3:10])
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()
    assert writer.exists()
    assert not LabelWriter(tmp_path / "ours.npy", (4, 3, 5)).exists()


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite

    def until_full(descriptor: int, content: memoryview, at: int) -> int:
        if at > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content[:11], at)  # in pieces, as it may be

    monkeypatch.setattr(os, "pwrite", until_full)
    with pytest.raises(StoreFullError, match=r"labels\.npy: No space left"):
        label(tmp_path)
    monkeypatch.undo()
    teacher = SmallTeacher()
    label(tmp_path, teacher)
    assert BATCHES - 20 < teacher.shown < BATCHES
