"""Progress of an unfinished run: `progress-RANK.json`, one file per process.

A batch is listed only after its labels have reached the disk. The files of all processes together
say what is done, so that a run can resume with more or fewer processes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError
from labelcast.files import write_whole
from labelcast.identifiers import Digest
from labelcast.label_set import to_canonical

FORMAT = "labelcast/relabel-progress/1"
START_ANEW = "start over with --fresh (in Python: fresh=True)"

Batches = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FinishedBatches:
    """The progress files of a directory.

    Attributes:
        directory: directory of the labels.
        settings: digest of everything that determines the labels.
    """

    directory: Path
    settings: Digest

    def read(self, num_batches: int) -> Batches:
        """Read which batches any process has finished: int64, increasing.

        Args:
            num_batches: number of batches in the whole run.

        Raises:
            InvalidRequestError: a file is damaged, or belongs to a run with other settings.
        """
        done = np.zeros(num_batches, dtype=np.bool_)
        for path in self._files():
            for begin, end in self._runs(path):
                done[begin:end] = True
        return np.flatnonzero(done).astype(np.int64)

    def write(self, rank: int, batches: Batches, *, rows: int) -> None:
        """Replace the file of one process.

        Args:
            rank: rank of the process.
            batches: increasing; their labels are on the disk.
            rows: number of rows in these batches, for people.
        """
        ends = np.flatnonzero(np.diff(batches) != 1)
        begins = batches[np.append(0, ends + 1)] if len(batches) else batches
        stops = batches[np.append(ends, -1)] + 1 if len(batches) else batches
        value = {
            "format": FORMAT,
            "settings": self.settings,
            "rows": rows,
            "batches": np.stack([begins, stops], axis=1).tolist(),
        }
        write_whole(self._file(rank), to_canonical(value))

    def clear(self, *, but: int | None = None) -> None:
        """Remove the files of all processes, or of all but one, and what a kill left unfinished.

        An import's progress goes too: the labels that it is about do. No process may be writing
        one.
        """
        for path in self.directory.glob("*progress*.json*"):
            if but is None or path != self._file(but):
                path.unlink()

    def _file(self, rank: int) -> Path:
        return self.directory / f"progress-{rank}.json"

    def _files(self) -> Iterator[Path]:
        yield from sorted(self.directory.glob("progress-*.json"))

    def _runs(self, path: Path) -> list[tuple[int, int]]:
        try:
            value: Any = json.loads(path.read_bytes())
            if value["format"] != FORMAT:
                raise ValueError(value["format"])
            settings = str(value["settings"])
            runs = [(int(begin), int(end)) for begin, end in value["batches"]]
        except (ValueError, KeyError, TypeError):
            raise InvalidRequestError(f"{path} is damaged; {START_ANEW}") from None
        if settings != self.settings:
            raise InvalidRequestError(
                f"{self.directory} holds an unfinished run of another teacher, data set or other"
                f" settings; repeat those to finish it, use another directory, or {START_ANEW}"
            )
        return runs
