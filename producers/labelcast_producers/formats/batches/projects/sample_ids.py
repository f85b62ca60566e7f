"""Sample IDs of producers that store them: in a list beside the batches, or in each batch."""

from labelcast.errors import LabelFileError
from labelcast_producers.formats.batches.base import Numbered, require_ids_file
from labelcast_producers.formats.batches.layout import Layout
from labelcast_producers.formats.batches.numbering import cut_epochs, ids_by_epoch
from labelcast_producers.formats.batches.orders import read_orders
from labelcast_producers.formats.batches.scanning import Scan


def ids_from_list(layout: Layout, scanned: Scan) -> Numbered:
    """Read sample IDs from the list of every epoch's samples.

    Raises:
        LabelFileError: the list is missing or contradicts the batches.
    """
    ids_file = require_ids_file(layout)
    orders = read_orders(ids_file)
    ids = list(ids_by_epoch(cut_epochs(scanned.batches, orders), orders, ids_file))
    return Numbered(ids, epoch_seeds(scanned))


def ids_in_batches(layout: Layout, scanned: Scan) -> Numbered:
    """Read sample IDs that the batches themselves hold.

    Raises:
        LabelFileError: a list beside the batches names samples too.
    """
    cut_epochs(scanned.batches)
    if layout.ids_file is not None:
        raise LabelFileError(
            f"{layout.ids_file} names samples that the batches name themselves; move it away",
            path=layout.ids_file,
        )
    ids = [batch.sample_ids for batch in scanned.batches if batch.sample_ids is not None]
    return Numbered(ids, epoch_seeds(scanned))


def epoch_seeds(scanned: Scan) -> list[int]:
    """Seeds of all batches: the numbers of their epochs."""
    return [batch.place.epoch or 0 for batch in scanned.batches]
