"""What one file tells of a directory: whose it is, what is inside, and whether it is all of it."""

from pathlib import Path
from typing import Any

from labelcast.errors import LabelFileError
from labelcast_producers.formats.batches.layout import Kind, Layout, find_layout, whole_of
from labelcast_producers.formats.batches.record import Record, Signature, as_record
from labelcast_producers.formats.batches.scanning import stored_values
from labelcast_producers.torchfile import open_torch_file

_ZIP_MAGIC = b"PK"


def require_whole(path: Path) -> None:
    """Refuse one epoch, or one file, of the directory that should have been given.

    Raises:
        LabelFileError: names the directory.
    """
    whole = whole_of(path)
    if whole is None:
        return
    layout = find_layout(path)
    if _holds_batches(path if layout is None else layout.files[0].path):
        raise LabelFileError(
            f"{path} is {'one file' if layout is None else 'one epoch'} of batches: give the"
            f" directory that the producer wrote, {whole}",
            path=path,
        )


def require_epochs(layout: Layout, record: Record) -> None:
    """Refuse batches of G-VBSM or EDC that were taken out of the directories of their epochs.

    Raises:
        LabelFileError: says where they belong.
    """
    if layout.kind is Kind.FLAT and record.sample_ids is not None:
        raise LabelFileError(
            f"{layout.root} holds batches as of G-VBSM or EDC, which name their samples but not"
            " their epochs; put them in directories epoch_0, epoch_1 and so on, and give the"
            " directory above",
            path=layout.root,
        )


def _holds_batches(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with open_torch_file(path) as opened:
            tree = opened.tree
            values = [tree, *tree[:1]] if type(tree) is list else []
            return any(as_record(value) is not None for value in values)
    except LabelFileError:
        return False


def first_record(layout: Layout) -> tuple[Record, int] | None:
    """A record that tells what all are, and how many are in its file.

    Raises:
        LabelFileError: none of some files can be read, though their names and first bytes are those
            of this family.
    """
    files = layout.files
    trouble: LabelFileError | None = None
    for file in dict.fromkeys((files[0], files[len(files) // 2], files[-1])):
        try:
            with open_torch_file(file.path) as opened:
                values = stored_values(opened.tree, layout.kind) or []
                record = as_record(values[0]) if values else None
                if record is not None:
                    return record, len(values)
        except LabelFileError as error:
            # What wants to run code, or is no zip file, is of someone else; and anyone's files may
            # be called epoch_1.tar.
            telling = layout.kind is not Kind.EPOCH_FILES or layout.ids_file is not None
            if telling and "forbidden" not in error.facts and _is_zip(file.path):
                trouble = trouble or error
    if trouble is not None:
        raise trouble
    return None


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    except OSError:
        return False


def inside_of(layout: Layout, record: Record, batches: int) -> dict[str, Any]:
    """What `inspect` shows of a directory.

    Args:
        layout: of its files.
        record: of its first file.
        batches: in that file.
    """
    signature = Signature.of(record)
    mix = "none" if record.mix_index is None else "mixup" if record.box is None else "cutmix"
    inside: dict[str, Any] = {
        "files": len(layout.files),
        "epochs": layout.num_epochs,
        "batches_in_first_file": batches,
        "batch_size": record.size,
        "label_type": signature.label_type,
        "k" if signature.top_k else "classes": signature.label_columns,
        "coords_type": signature.coords,
        "mix": mix,
        "rand_augment_layers": signature.layers,
        "cutout": signature.cutout,
        "sample_ids": layout.ids_file is not None or signature.sample_ids,
    }
    return {name: value for name, value in inside.items() if value is not None}
