"""Raw label sets of what files are known to say, without any importer."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import Mix, RecordedPolicy, RecordedViews, ViewPolicy
from labelcast.codec import LabelKind
from labelcast.label_set import RowOrder, SampleOrder, digest_of, index_of_cells
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.views import Views
from labelcast_producers.dense.files import open_label_file
from labelcast_producers.dense.labels import DenseLabels, Description
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import choose_encoder
from tests.producers.formats.writers.truth import Truth


def make_label_set(
    directory: Path,
    policy: ViewPolicy | None,
    views: Views,
    labels: NDArray[Any],
    records: RecordedViews | None = None,
    *,
    kind: LabelKind = LabelKind.LOGITS,
    first_id: int = 0,
) -> LabelSetDirectory:
    """A raw label set of views in seed-major order, of which some may be missing."""
    samples = int(views.sample_ids.max()) + 1
    cells = views.seeds.astype(np.int64) * samples + views.sample_ids.astype(np.int64)
    seeds = int(views.seeds.max()) + 1
    order = np.argsort(cells)
    directory.mkdir(parents=True)
    np.save(directory / "labels.npy", labels[order])
    rows = open_label_file(directory / "labels.npy")
    description = Description(
        teacher=digest_of(b"teacher"),
        teacher_name="a teacher of tests",
        dataset=digest_of(b"data set"),
        num_classes=labels.shape[1],
        class_list=digest_of(b"classes"),
        policy=policy,
        label_kind=kind,
        temperature=1.0 if kind is LabelKind.PROBABILITIES else None,
        sample_order=SampleOrder.UNVERIFIED,
    )
    index = index_of_cells(
        np.arange(first_id, first_id + samples, dtype=np.uint64),
        np.arange(seeds, dtype=np.uint32),
        RowOrder.SEED_MAJOR,
        None if len(cells) == samples * seeds else cells[order],
    )
    dense = DenseLabels(
        description=description,
        index=index,
        hard_labels=None,
        rows=rows,
        records=None if records is None else records[order],
    )
    codec = "raw:fp16" if labels.dtype == np.float16 else "raw:fp32"
    chosen = choose_encoder(codec, description, temperature=1.0, device="cpu")
    return write_label_set(dense, chosen.encoder, directory)


def imported_label_set(
    directory: Path, truth: Truth, *, view: int, **policy: Any
) -> LabelSetDirectory:
    """What an importer makes of files that say `truth`.

    Args:
        directory: of the label set.
        truth: of a producer that mixes whole batches, or not at all.
        view: pixels a side.
        policy: fields of the policy that are not plain.
    """
    made = replace(
        RecordedPolicy(view_height=view, view_width=view, mix=Mix(truth.mix)),
        **policy,
    )
    records = RecordedViews.plain(truth.sample_ids, truth.seeds, made)
    assert truth.coords is not None
    records.crop[:] = truth.coords
    if truth.flip is not None:
        records.flip[:] = truth.flip
    if truth.partner_sample_ids is not None and truth.lam is not None:
        records.partner_sample_ids[:] = truth.partner_sample_ids
        records.lam[:] = truth.lam
    if truth.box is not None:
        records.box[:] = truth.box
    views = Views(truth.sample_ids, truth.seeds)
    return make_label_set(directory, made, views, truth.labels, records)


def rows_of(truth: Truth, chosen: NDArray[np.bool_]) -> Truth:
    """Some of its views."""
    columns = {field.name: getattr(truth, field.name) for field in fields(truth)}
    arrays: dict[str, Any] = {
        name: column for name, column in columns.items() if isinstance(column, np.ndarray)
    }
    return replace(truth, **{name: array[chosen] for name, array in arrays.items()})
