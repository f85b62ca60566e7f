"""Scans all files once: small content is read and checked, labels are left unread.

Memory grows by 35 to 60 bytes per view (batches of 1024 to 100), however large its label.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from labelcast.errors import LabelFileError
from labelcast.progress import Progress, unwatched
from labelcast_producers.formats.batches.batch import Batch, Place, check_indices, read_batch
from labelcast_producers.formats.batches.layout import Kind, Layout, StoredFile
from labelcast_producers.formats.batches.record import (
    EXPECTED,
    Record,
    Signature,
    as_record,
    describe,
    how_to_mend,
)
from labelcast_producers.formats.shared.counting import counted
from labelcast_producers.formats.shared.stamps import Stamps
from labelcast_producers.torchfile import open_torch_file


@dataclass(frozen=True, eq=False, slots=True)
class Scan:
    """All batches of a layout.

    Attributes:
        batches: batches by epoch and number.
        signature: what all records share.
        stamps: size and times of each file.
    """

    batches: tuple[Batch, ...]
    signature: Signature
    stamps: Stamps


@contextmanager
def opened_records(file: StoredFile, kind: Kind) -> Iterator[list[tuple[Place, Any]]]:
    """The records of one file, unchecked, for as long as it is open.

    Raises:
        LabelFileError: the file is damaged, or has another format.
    """
    with open_torch_file(file.path) as opened:
        yield list(_records(file, kind, opened.tree))


def scan(
    layout: Layout,
    *,
    like: Signature | None,
    view_size: int,
    num_classes: int | None,
    progress: Progress = unwatched,
) -> Scan:
    """Read and check everything but the labels.

    Args:
        layout: layout without gaps and foreign files.
        like: of a record of these files, for advice on others.
        view_size: pixels per side of the producer's views.
        num_classes: upper limit of the indices of top-k labels; dense labels tell it themselves.
        progress: counts files.

    Raises:
        LabelFileError: something is wrong; names file and position.
    """
    batches: list[Batch] = []
    stamps = Stamps()
    first: tuple[Signature, Place] | None = None
    for file in counted(layout.files, progress):
        stamps.note(file.path)
        with opened_records(file, layout.kind) as records:
            for place, value in records:
                record = require_record(value, place, like)
                first = first or (Signature.of(record), place)
                _require_alike(record, place, first)
                batches.append(read_batch(record, place, view_size))
                if record.indices is not None and num_classes is not None:
                    check_indices(record.indices, place, num_classes)
    if first is None:
        raise LabelFileError(f"{layout.root} holds no batches", path=layout.root)
    return Scan(tuple(batches), first[0], stamps)


def require_record(value: object, place: Place, like: Signature | None) -> Record:
    """Return the record at a place.

    Args:
        value: what is there.
        place: the place.
        like: of another record, for advice.

    Raises:
        LabelFileError: the value is none; says what it is.
    """
    record = as_record(value)
    if record is None:
        return place.refuse(f"is {describe(value)}, not {EXPECTED}; {how_to_mend(value, like)}")
    return record


def stored_values(tree: Any, kind: Kind) -> list[Any] | None:
    """The values of one file that should be records; None for a file of epochs that is no list."""
    if kind is not Kind.EPOCH_FILES:
        return [tree]
    return tree if type(tree) is list and tree else None


def _records(file: StoredFile, kind: Kind, tree: Any) -> Iterator[tuple[Place, Any]]:
    values = stored_values(tree, kind)
    if kind is not Kind.EPOCH_FILES:
        yield Place(file, file.epoch, file.number), tree
    elif values is None:
        Place(file, file.epoch, 0).refuse(
            f"is {describe(tree)}, not a list of batches; {how_to_mend(tree)}"
        )
    else:
        for number, value in enumerate(values):
            yield Place(file, file.epoch, number, f", batch {number}"), value


def _require_alike(record: Record, place: Place, first: tuple[Signature, Place]) -> None:
    signature, expected = Signature.of(record), first[0]
    if signature == expected:
        return
    if signature.label_columns != expected.label_columns:
        place.refuse(
            f"labels have {signature.label_columns} columns, those of {first[1]} have"
            f" {expected.label_columns}; all must be of one teacher: fetch it again"
        )
    for what, own, other in (
        ("labels", signature.label_type, expected.label_type),
        ("coords", signature.coords, expected.coords),
    ):
        if own != other:
            place.refuse(
                f"{what} are {own}, those of {first[1]} are {other}; write all in one type"
            )
    place.refuse(
        f"holds other things, or other types, than {first[1]}; all files must be of one run:"
        " move those of others away"
    )
