"""What a run keeps until its label set is written: rows, figures, and which batches are done."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Rows
from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast_producers.fitting.parallel import Workers
from labelcast_producers.relabel.finished_batches import START_ANEW, FinishedBatches
from labelcast_producers.relabel.label_writer import LabelWriter, OpenLabels
from labelcast_producers.relabel.language.labelling import TokenRows
from labelcast_producers.relabel.language.plan import SequencePlan

_BLOCK_BYTES = 2**24
# Nats. Other threads or devices round differently; another forward pass differs by more.
_SAME_FIGURES = 0.05


@dataclass(frozen=True, eq=False, slots=True)
class OpenRows:
    """The two files, open for this process to write its own rows."""

    rows: OpenLabels
    figures: OpenLabels

    def write(self, first: int, batch: TokenRows) -> None:
        """Write a batch.

        Raises:
            StoreFullError: the disk is full.
        """
        self.rows.write(first, batch.rows)
        self.figures.write(first, batch.next_token)


class UnfinishedRun:
    """The directory `encoding` of a label set that is being made.

    Args:
        out: directory of the label set.
        settings: digest of everything that decides the rows.
        plan: batches.
        stride: bytes of a row.
    """

    def __init__(self, out: Path, settings: Digest, plan: SequencePlan, stride: int) -> None:
        self.directory, self._plan = out / "encoding", plan
        self.directory.mkdir(parents=True, exist_ok=True)
        self.finished = FinishedBatches(self.directory, settings)
        tokens = plan.num_rows
        self._rows = LabelWriter(self.directory / "rows.npy", (tokens, stride), np.dtype("u1"))
        figures = self.directory / "next_token.npy"
        self._figures = LabelWriter(figures, (tokens, 1), np.dtype("<f4"))

    def take_up(
        self, workers: Workers, again: Callable[[int], TokenRows], *, fresh: bool
    ) -> NDArray[np.int64]:
        """Prepare the files to go on; all workers must call it.

        Args:
            workers: processes that share the run.
            again: labels a batch, to be compared with what was kept of it.
            fresh: discard what there is.

        Returns:
            Finished batches: int64, increasing.

        Raises:
            InvalidRequestError: another run is unfinished there.
            StoreFullError: the disk has no room for the rows.
        """
        files = (self._rows, self._figures)
        for file in files:
            file.check_room()
        count = self._plan.num_batches
        done = np.empty(0, dtype=np.int64) if fresh else self.finished.read(count)
        if not all(file.exists() for file in files):
            done = done[:0]
        # Nobody may change the files that others are still to read.
        workers.wait()
        if workers.is_first:
            if len(done):
                self._expect_its_figures(int(done[0]), again)
                self.finished.write(0, done, rows=self._plan.count_rows(done))
                self.finished.clear(but=0)
            else:
                self.finished.clear()
                for file in files:
                    file.create()
        workers.wait()
        return done

    @contextmanager
    def opened(self) -> Iterator[OpenRows]:
        """Open the files for this process.

        Raises:
            BusyError: another run is replacing them.
        """
        with ExitStack() as stack:
            rows = stack.enter_context(self._rows.opened())
            yield OpenRows(rows, stack.enter_context(self._figures.opened()))

    def blocks(self) -> Iterator[Rows]:
        """All rows, in blocks: uint8, shape (n, stride)."""
        rows = np.load(self._rows.path, mmap_mode="r")
        step = max(1, _BLOCK_BYTES // rows.shape[1])
        for start in range(0, len(rows), step):
            yield np.array(rows[start : start + step])

    def figures(self) -> Iterator[NDArray[np.float32]]:
        """Log-probabilities of the next tokens, where there is one, in blocks of rows."""
        figures = np.load(self._figures.path, mmap_mode="r")
        for start in range(0, len(figures), _BLOCK_BYTES // 4):
            block = np.array(figures[start : start + _BLOCK_BYTES // 4, 0])
            yield block[~np.isnan(block)]

    def discard(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.directory)

    def _expect_its_figures(self, batch: int, again: Callable[[int], TokenRows]) -> None:
        """Refuse a model with the same weights but changed code: its digest does not show that."""
        first, end = self._plan.rows(batch)
        with self.opened() as files:
            stored = files.figures.read(first, end - first)
        now = again(batch).next_token
        with np.errstate(invalid="ignore"):
            gaps = np.where(stored == now, 0, np.abs(stored - now))
        if float(np.nan_to_num(gaps, nan=0, posinf=np.inf).max(initial=0)) > _SAME_FIGURES:
            raise InvalidRequestError(
                f"{self.directory.parent} holds an unfinished run in which the model gave other"
                f" labels to the same tokens; {START_ANEW}"
            )
