"""Recorded views of dense labels → sections of a label set."""

from collections.abc import Iterator

import numpy as np

from labelcast.augmentation import MIX_STRIDE, Mix, MixTable, RecordedPolicy, RecordLayout
from labelcast.codec import Rows
from labelcast.errors import LabelFileError
from labelcast.label_set import Augmentation
from labelcast.label_set_directory import LabelSetDirectoryWriter
from labelcast_producers.dense.labels import DenseLabels

_BLOCK_ROWS = 2**18


def write_augmentation(writer: LabelSetDirectoryWriter, dense: DenseLabels) -> Augmentation | None:
    """Pack the records of dense labels.

    Args:
        writer: writer of the label set.
        dense: labels with records, if views were recorded.

    Returns:
        None where no views were recorded.

    Raises:
        LabelFileError: a partner is not a view of the set.
    """
    policy, records, index = dense.description.policy, dense.records, dense.index
    if records is None or not isinstance(policy, RecordedPolicy):
        return None
    table, mixes = None, np.zeros(index.num_rows, dtype=np.int64)
    if policy.mix is not Mix.NONE:
        # A batch's λ and box are those of all its views, so they are stored once per batch.
        shared = np.column_stack([records.lam, records.box.astype(np.float64)])
        unique, mixes = np.unique(shared, axis=0, return_inverse=True)
        mixes = mixes.reshape(-1)
        table = MixTable(unique[:, 0].copy(), unique[:, 1:].astype(np.int32))
    layout = RecordLayout.for_records(
        records.crop,
        num_samples=len(index.sample_ids),
        num_mixes=0 if table is None else len(table.lam),
    )

    def packed() -> Iterator[Rows]:
        for start in range(0, index.num_rows, _BLOCK_ROWS):
            rows = np.arange(start, min(start + _BLOCK_ROWS, index.num_rows))
            views, part = index.views_at(rows), records[rows]
            position = np.searchsorted(index.sample_ids, part.partner_sample_ids)
            position = np.minimum(position, len(index.sample_ids) - 1)
            known = index.sample_ids[position] == part.partner_sample_ids
            known &= part.partner_seeds == views.seeds
            if not known.all():
                at = int(np.argmin(known))
                raise LabelFileError(
                    f"view (sample ID {views.sample_ids[at]}, seed {views.seeds[at]}) is mixed with"
                    " one that the labels lack; import the files of all samples"
                )
            yield layout.pack(policy, part, position, mixes[rows])

    return Augmentation(
        layout,
        writer.add_rows(layout.stride(policy), packed()),
        None if table is None else writer.add_rows(MIX_STRIDE, [table.pack()]),
    )
