"""A scanned source → a directory of dense labels, resumable."""

import io
import json
import shutil
from pathlib import Path
from typing import BinaryIO

import numpy as np

from labelcast.errors import StoreFullError
from labelcast.files import remove_for_good, sync_file, write_whole
from labelcast.label_set import RowOrder, SegmentIndex
from labelcast.label_set.fingerprints import SampleFingerprints
from labelcast.progress import Progress, unwatched
from labelcast_producers.dense.labels import (
    DESCRIPTION_NAME,
    LABELS_NAME,
    DenseLabels,
    Description,
    write_tables,
)
from labelcast_producers.dense.sole_writer import claim
from labelcast_producers.formats.shared.foreign_rows import ForeignRows
from labelcast_producers.formats.source import Source

PROGRESS_NAME = "import-progress.json"
_SYNC_BYTES = 2**30


def write_dense(
    source: Source,
    description: Description,
    out: Path,
    *,
    identity: str,
    fingerprints: SampleFingerprints | None = None,
    progress: Progress = unwatched,
) -> DenseLabels:
    """Write the labels of a source, in their precision.

    An interrupted import resumes where it stopped when it is called again with the same identity.

    Args:
        source: scanned source.
        description: meaning of its labels.
        out: output directory; other labels there are replaced.
        identity: identity of the files and the options.
        fingerprints: fingerprints of the images; None without images.
        progress: called as labels are written.

    Raises:
        BusyError: another process writes labels there.
        StoreFullError: the disk of `out` has no room for the labels.
        LabelFileError, LabelValueError: something is wrong with a file; says what and which.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows, index = ForeignRows(source), source.facts.index
    header = _header(rows, index)
    row_bytes = rows.num_classes * rows.dtype.itemsize
    path, note = out / LABELS_NAME, out / PROGRESS_NAME
    found = _rows_done(note, identity, path, len(header), row_bytes)
    _check_room(out, (rows.num_rows - found) * row_bytes)
    with path.open("ab") as file:
        claim(file)
        (out / DESCRIPTION_NAME).unlink(missing_ok=True)
        # Asked again, since the file belonged to nobody before.
        done = _rows_done(note, identity, path, len(header), row_bytes)
        progress(done, rows.num_rows)
        file.truncate(len(header) + done * row_bytes)
        if not done:
            # A note of other labels would be believed about those that are written here.
            remove_for_good(note)
            file.truncate(0)
            file.write(header)
        unsynced = 0
        for block in rows.blocks(done):
            file.write(np.ascontiguousarray(block).data.cast("B"))
            done += len(block)
            unsynced += block.nbytes
            if unsynced >= _SYNC_BYTES:
                _note_progress(file, note, identity, done)
                unsynced = 0
            progress(done, rows.num_rows)
        sync_file(file)
        write_tables(out, index, source.facts.hard_labels, source.records(), fingerprints)
        write_whole(out / DESCRIPTION_NAME, description.to_bytes())
        note.unlink(missing_ok=True)
    return DenseLabels.open(out)


def _header(rows: ForeignRows, index: SegmentIndex) -> bytes:
    shape: tuple[int, ...] = (rows.num_rows, rows.num_classes)
    if index.row_order is RowOrder.SEED_MAJOR and index.present is None:
        shape = (len(index.seeds), len(index.sample_ids), rows.num_classes)
    described = {"descr": rows.dtype.newbyteorder("<").str, "fortran_order": False, "shape": shape}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


def _note_progress(file: BinaryIO, note: Path, identity: str, rows: int) -> None:
    # The labels first: a note about rows that a power cut took away would leave a gap.
    sync_file(file)
    write_whole(note, json.dumps({"identity": identity, "rows": rows}).encode())


def _rows_done(note: Path, identity: str, path: Path, header: int, row_bytes: int) -> int:
    try:
        noted = json.loads(note.read_bytes())
        rows = noted["rows"] if noted["identity"] == identity else 0
        whole = path.stat().st_size >= header + rows * row_bytes
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return rows if whole and type(rows) is int and rows >= 0 else 0


def _check_room(out: Path, needed: int) -> None:
    available = shutil.disk_usage(out).free
    if needed > available:
        raise StoreFullError(
            f"the labels need {needed} bytes, {out} has room for {available}; take another disk, or"
            " encode on the fly with --codec",
            needed=needed,
            available=available,
        )
