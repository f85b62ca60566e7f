"""Packed rows on disk while a label set is being made, so that an interrupted encoding resumes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from labelcast.codec import Rows
from labelcast.files import remove_for_good, sync_file, write_whole
from labelcast_producers.dense.sole_writer import claim

_BLOCK_BYTES = 2**24


class RowLog:
    """An append-only log of rows, with a note of their number and of the measurements so far.

    Args:
        directory: directory of the log; created if missing.
        identity: identity of everything that determines the rows; another identity starts over.
        stride: bytes in a row.

    Raises:
        BusyError: another process writes a log there.
    """

    def __init__(self, directory: Path, identity: str, stride: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._rows_path, self._note_path = directory / "rows.bin", directory / "note.json"
        self._identity, self._stride = identity, stride
        self._file = self._rows_path.open("ab")
        claim(self._file)
        note = self._read_note()
        self.rows: int = note["rows"]
        self.measured: dict[str, Any] = note["measured"]
        if not self.rows:
            # A note about other rows would be believed about those that are appended here.
            remove_for_good(self._note_path)
        self._file.truncate(self.rows * stride)

    def append(self, rows: Rows) -> None:
        """Append rows; they count once `note` is called."""
        self._file.write(np.ascontiguousarray(rows).data.cast("B"))
        self.rows += len(rows)

    def note(self, measured: dict[str, Any]) -> None:
        """Make everything that was appended survive a crash."""
        # The rows first: a note about rows that a power cut took away would leave a gap.
        sync_file(self._file)
        note = {"identity": self._identity, "rows": self.rows, "measured": measured}
        write_whole(self._note_path, json.dumps(note).encode())

    def blocks(self) -> Iterator[Rows]:
        """All rows, in blocks: uint8, shape (n, stride)."""
        self._file.flush()
        block_rows = max(1, _BLOCK_BYTES // self._stride)
        with self._rows_path.open("rb") as file:
            while content := file.read(block_rows * self._stride):
                yield np.frombuffer(content, dtype=np.uint8).reshape(-1, self._stride)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def discard(self) -> None:
        """Delete the log."""
        # Including files that a kill may have left half-written.
        shutil.rmtree(self._rows_path.parent)
        self._file.close()

    def _read_note(self) -> dict[str, Any]:
        try:
            note = json.loads(self._note_path.read_bytes())
            whole = self._rows_path.stat().st_size >= note["rows"] * self._stride
            if note["identity"] == self._identity and whole and isinstance(note["measured"], dict):
                return {"rows": int(note["rows"]), "measured": note["measured"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return {"rows": 0, "measured": {}}
