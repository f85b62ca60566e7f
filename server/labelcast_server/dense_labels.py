"""Dense labels with everything that gives them their meaning: what `relabel` writes.

labels.npy            fp16, shape (seeds, samples, C); memory-mapped
tables.safetensors    sample_ids (uint64), seeds (uint32), hard_labels (int64)
labels.json           canonical JSON; written last, so a directory without it is unfinished
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from labelcast.augmentation import AugmentationPolicy
from labelcast.codec import LabelKind
from labelcast.context import ViewContext
from labelcast.errors import LabelFileError, ManifestError
from labelcast.label_set import (
    RowOrder,
    SegmentIndex,
    class_list_digest,
    from_canonical,
    to_canonical,
)
from labelcast.label_set.bundle import file_digest
from labelcast.label_set.fields import Fields
from labelcast_server.label_files import LabelFile, open_label_file
from labelcast_server.row_context import RowContext

FORMAT = "labelcast/dense-labels/1"
DESCRIPTION_NAME = "labels.json"
LABELS_NAME = "labels.npy"
TABLES_NAME = "tables.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What dense labels mean.

    Attributes:
        teacher: digest of its weights.
        teacher_name: for people.
        dataset: digest over sample IDs and contents.
        num_classes: C.
        class_list: digest of the ordered class names.
        policy: how the views were made; None for unaugmented samples.
        label_kind: of the values.
        temperature: that probabilities were taken at; None for logits.
    """

    teacher: str
    teacher_name: str
    dataset: str
    num_classes: int
    class_list: str
    policy: AugmentationPolicy | None
    label_kind: LabelKind
    temperature: float | None

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return to_canonical(
            {
                "format": FORMAT,
                "teacher": self.teacher,
                "teacher_name": self.teacher_name,
                "dataset": self.dataset,
                "num_classes": self.num_classes,
                "class_list": self.class_list,
                "policy": None if self.policy is None else self.policy.as_json(),
                "label_kind": str(self.label_kind),
                "temperature": self.temperature,
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read strictly."""
        value = from_canonical(content, DESCRIPTION_NAME, max_bytes=2**20)
        fields = Fields(value, DESCRIPTION_NAME)
        if fields.text("format") != FORMAT:
            raise LabelFileError(f"{DESCRIPTION_NAME} is of another format than {FORMAT}")
        policy, temperature = fields.take("policy"), fields.take("temperature")
        kind = fields.text("label_kind")
        if kind not in set(LabelKind) or not isinstance(temperature, float | None):
            raise LabelFileError(f"{DESCRIPTION_NAME}: label_kind or temperature is malformed")
        read = cls(
            teacher=fields.digest("teacher"),
            teacher_name=fields.text("teacher_name"),
            dataset=fields.digest("dataset"),
            num_classes=fields.integer("num_classes", 1, 2**20),
            class_list=fields.digest("class_list"),
            policy=None if policy is None else AugmentationPolicy.from_json(policy),
            label_kind=LabelKind(kind),
            temperature=temperature,
        )
        fields.done()
        if (read.label_kind is LabelKind.PROBABILITIES) != (temperature is not None):
            raise LabelFileError(
                f"{DESCRIPTION_NAME}: probabilities and only they have temperatures"
            )
        if temperature is not None and temperature <= 0:
            raise LabelFileError(f"{DESCRIPTION_NAME}: temperature {temperature} is not above 0")
        return read


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class DenseLabels:
    """Dense labels, open.

    Attributes:
        description: what they mean.
        index: which row is which view's.
        hard_labels: int64, shape (S,), in the order of `index.sample_ids`; None if unknown.
        rows: the labels, read in blocks.
    """

    description: Description
    index: SegmentIndex
    hard_labels: NDArray[np.int64] | None
    rows: LabelFile

    def context(self) -> RowContext | None:
        """What both ends know of the views; None where hard labels are unknown."""
        if self.hard_labels is None:
            return None
        views = ViewContext(self.description.policy, self.index.sample_ids, self.hard_labels)
        return RowContext(self.index, views)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open what `write_tables` and a memory-mapped `labels.npy` have left.

        Raises:
            LabelFileError: unfinished, truncated or contradictory.
        """
        path = directory / DESCRIPTION_NAME
        if not path.is_file():
            raise LabelFileError(
                f"{directory} holds no {DESCRIPTION_NAME}: finish `labelcast-server relabel`"
            )
        tables = _read_tables(directory / TABLES_NAME)
        try:
            description = Description.from_bytes(path.read_bytes())
            index = SegmentIndex(tables["sample_ids"], tables["seeds"], RowOrder.SEED_MAJOR)
        except ManifestError as error:
            raise LabelFileError(f"{directory}: {error.message}; relabel again") from None
        rows = open_label_file(directory / LABELS_NAME)
        rows.expect_classes(description.num_classes)
        hard = tables.get("hard_labels")
        if hard is not None and not ((hard >= 0) & (hard < description.num_classes)).all():
            raise LabelFileError(
                f"{directory}: hard labels must be 0 to {description.num_classes - 1}; correct the"
                " data set's and relabel"
            )
        samples, seeds = len(index.sample_ids), len(index.seeds)
        # Of shape (samples, seeds, C) it would have as many rows, each under another view's name.
        if rows.num_rows != samples * seeds or rows.rows_per_seed not in (None, samples):
            raise LabelFileError(
                f"{directory}: {rows.num_rows} labels are not"
                f" {samples} samples × {seeds} seeds; relabel again"
            )
        return cls(
            description=description, index=index, hard_labels=tables.get("hard_labels"), rows=rows
        )


def write_tables(
    directory: Path, index: SegmentIndex, hard_labels: NDArray[np.int64] | None
) -> None:
    """Write which row is which view's."""
    tables: dict[str, NDArray[Any]] = {"sample_ids": index.sample_ids, "seeds": index.seeds}
    if hard_labels is not None:
        tables["hard_labels"] = hard_labels
    safetensors.numpy.save_file(tables, directory / TABLES_NAME)


def _read_tables(path: Path) -> dict[str, NDArray[Any]]:
    try:
        tables = safetensors.numpy.load_file(path)
        samples = len(tables["sample_ids"])
        hard = tables.get("hard_labels")
        fits = (
            tables["sample_ids"].dtype == np.uint64
            and tables["seeds"].dtype == np.uint32
            and (hard is None or (hard.dtype == np.int64 and len(hard) == samples))
        )
    except (OSError, KeyError, safetensors.SafetensorError):
        raise LabelFileError(f"{path} is missing or damaged; relabel again") from None
    if not fits:
        raise LabelFileError(f"{path} holds other tables than relabel writes; relabel again")
    return tables


def open_for_fitting(
    path: Path, label_kind: LabelKind
) -> tuple[LabelFile, LabelKind, RowContext | None]:
    """As `open_labels`, for readers who need no identity: a plain file is not read for its digest.

    Returns:
        The labels, their kind, and what is known of their views.
    """
    if path.is_dir():
        dense = DenseLabels.open(path)
        return dense.rows, dense.description.label_kind, dense.context()
    return open_label_file(path), label_kind, None


def open_labels(path: Path, label_kind: LabelKind, *, temperature: float = 1.0) -> DenseLabels:
    """Open a directory of dense labels, or a plain file as labels of unaugmented samples.

    A plain file of shape (rows, C) gives sample IDs 0 … rows − 1 under the one seed 0; one of
    shape (seeds, samples, C) gives sample IDs 0 … samples − 1 under seeds 0 … seeds − 1. Teacher
    and data set are named by the file's own digest, since nothing else is known of them.

    Args:
        path: directory or file.
        label_kind: of a plain file.
        temperature: of a plain file of probabilities.

    Raises:
        LabelFileError: unusable; says why.
    """
    if path.is_dir():
        return DenseLabels.open(path)
    rows = open_label_file(path)
    samples = rows.rows_per_seed or rows.num_rows
    identity = file_digest(path)
    probabilities = label_kind is LabelKind.PROBABILITIES
    return DenseLabels(
        description=Description(
            teacher=identity,
            teacher_name=path.name,
            dataset=identity,
            num_classes=rows.num_classes,
            class_list=class_list_digest([str(number) for number in range(rows.num_classes)]),
            policy=None,
            label_kind=label_kind,
            temperature=temperature if probabilities else None,
        ),
        index=SegmentIndex(
            np.arange(samples, dtype=np.uint64),
            np.arange(rows.num_rows // samples, dtype=np.uint32),
            RowOrder.SEED_MAJOR,
        ),
        hard_labels=None,
        rows=rows,
    )
