"""Label sets of rows that a benchmark makes, every sample under every seed."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import AugmentationPolicy
from labelcast.codec import Codec, Rows, write_artifact
from labelcast.label_set import (
    LabelContract,
    Manifest,
    RowOrder,
    Segment,
    class_list_digest,
    digest_of,
)
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter

_GOLDEN_ROWS = 8


def write_generated(
    directory: Path,
    codec: Codec,
    blocks: Iterable[Rows],
    *,
    sample_ids: NDArray[np.uint64],
    seeds: NDArray[np.uint32],
    teacher: str,
    teacher_name: str,
    dataset: str,
    hard_labels: NDArray[np.integer] | None = None,
    policy: AugmentationPolicy | None = None,
) -> LabelSetDirectory:
    """Write a label set as `encode` would.

    Args:
        directory: for the label set.
        codec: of the rows.
        blocks: uint8, shape (n, stride) each, seed-major; the first has the golden rows.
        sample_ids: shape (S,), strictly increasing.
        seeds: shape (K,), strictly increasing.
        teacher: text whose digest stands for the teacher.
        teacher_name: for people.
        dataset: text whose digest stands for the data set.
        hard_labels: shape (S,), if there are any.
        policy: of the views; None for samples as they are.
    """
    writer, rest, header = LabelSetDirectoryWriter(directory), iter(blocks), codec.header
    first = next(rest)
    artifact = writer.add_blob(write_artifact(codec, first[:_GOLDEN_ROWS]))
    every: Iterator[Rows] = chain([first], rest)
    segment = Segment(
        row_order=RowOrder.SEED_MAJOR,
        sample_ids=writer.add_column(sample_ids, "<u8"),
        seeds=writer.add_column(seeds, "<u4"),
        codes=writer.add_rows(codec.row_stride, every),
        hard_labels=None if hard_labels is None else writer.add_column(hard_labels, "<u4"),
    )
    contract = LabelContract(
        teacher=digest_of(teacher.encode()),
        teacher_name=teacher_name,
        dataset=digest_of(dataset.encode()),
        num_classes=header.num_classes,
        class_list=class_list_digest([str(name) for name in range(header.num_classes)]),
        policy=policy,
        label_kind=header.label_kind,
        temperatures=header.temperatures,
        codec=artifact.digest,
        context=None,
    )
    writer.finish(Manifest(contract=contract, segments=(segment,), codec=artifact, report=None))
    return LabelSetDirectory(directory)
