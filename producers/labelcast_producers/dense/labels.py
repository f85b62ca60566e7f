"""Dense labels with everything that gives them meaning: the output of `relabel`.

labels.npy            fp16 or fp32, shape (seeds, samples, C), or (rows, C) where views are missing
                      or rows are sample-major
tables.safetensors    sample_ids (uint64), seeds (uint32), hard_labels (int64); present (int64)
                      where views are missing; file_fingerprints or pixel_fingerprints (uint64)
                      where there were images; those of `control_images`, if views were kept
records.safetensors   columns of `RecordedViews`, in row order, where views were recorded
labels.json           canonical JSON; written last, so a directory without it is unfinished
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from labelcast.augmentation import (
    RecordedPolicy,
    RecordedViews,
    UnrenderedPolicy,
    ViewPolicy,
    policy_from_json,
)
from labelcast.codec import LabelKind
from labelcast.context.view_context import ViewContext
from labelcast.errors import InvalidRequestError, LabelFileError, ManifestError
from labelcast.files import file_digest
from labelcast.identifiers import Digest
from labelcast.label_set import (
    GridIndex,
    RowOrder,
    SampleOrder,
    SegmentIndex,
    class_list_digest,
    from_canonical,
    index_of_cells,
    to_canonical,
)
from labelcast.label_set.control_views import ControlImages
from labelcast.label_set.fields import Fields
from labelcast.label_set.fingerprints import (
    READING_PART,
    FileReading,
    FingerprintKind,
    SampleFingerprints,
)
from labelcast_producers.dense.control_images import as_tables, from_tables
from labelcast_producers.dense.files import LabelFile, LabelRows, open_label_file
from labelcast_producers.dense.label_kind import check_label_kind
from labelcast_producers.dense.row_context import RowContext

FORMAT = "labelcast/dense-labels/1"
DESCRIPTION_NAME = "labels.json"
LABELS_NAME = "labels.npy"
TABLES_NAME = "tables.safetensors"
RECORDS_NAME = "records.safetensors"
_IMPORT_ELSEWHERE = "import the files again, into another directory"
# Rows that tell logits from probabilities.
_TOLD_BY = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What dense labels mean.

    Attributes:
        teacher: digest of the teacher's weights.
        teacher_name: name of the teacher, for people.
        dataset: digest over sample IDs and contents.
        num_classes: number of classes, C.
        class_list: digest of the ordered class names.
        policy: how the views were made; None for unaugmented samples.
        label_kind: kind of the values.
        temperature: softmax temperature of probabilities; None for logits.
        row_order: order of the rows.
        sample_order: where the sample IDs come from.
        file_reading: how files became samples; None where images were none.
    """

    teacher: Digest
    teacher_name: str
    dataset: Digest
    num_classes: int
    class_list: Digest
    policy: ViewPolicy | None
    label_kind: LabelKind
    temperature: float | None
    row_order: RowOrder = RowOrder.SEED_MAJOR
    sample_order: SampleOrder = SampleOrder.GIVEN
    file_reading: FileReading | None = None

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        reading = self.file_reading
        return to_canonical(
            ({} if reading is None else {READING_PART: reading.as_json()})
            | {
                "format": FORMAT,
                "teacher": self.teacher,
                "teacher_name": self.teacher_name,
                "dataset": self.dataset,
                "num_classes": self.num_classes,
                "class_list": self.class_list,
                "policy": None if self.policy is None else self.policy.as_json(),
                "label_kind": str(self.label_kind),
                "temperature": self.temperature,
                "row_order": str(self.row_order),
                "sample_order": str(self.sample_order),
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Parse strictly."""
        value = from_canonical(content, DESCRIPTION_NAME, max_bytes=2**20)
        fields = Fields(value, DESCRIPTION_NAME)
        if fields.text("format") != FORMAT:
            raise LabelFileError(f"{DESCRIPTION_NAME} has another format than {FORMAT}")
        policy, temperature = fields.take("policy"), fields.take("temperature")
        kind = fields.text("label_kind")
        reading = fields.optional_object(READING_PART)
        row_order = fields.optional_text("row_order") or RowOrder.SEED_MAJOR
        sample_order = fields.optional_text("sample_order") or SampleOrder.GIVEN
        if row_order not in set(RowOrder) or sample_order not in set(SampleOrder):
            raise LabelFileError(f"{DESCRIPTION_NAME}: row_order or sample_order is unknown")
        if kind not in set(LabelKind) or not isinstance(temperature, float | None):
            raise LabelFileError(f"{DESCRIPTION_NAME}: label_kind or temperature is malformed")
        read = cls(
            teacher=fields.digest("teacher"),
            teacher_name=fields.text("teacher_name"),
            dataset=fields.digest("dataset"),
            num_classes=fields.integer("num_classes", 1, 2**20),
            class_list=fields.digest("class_list"),
            policy=None if policy is None else policy_from_json(policy),
            label_kind=LabelKind(kind),
            temperature=temperature,
            row_order=RowOrder(row_order),
            sample_order=SampleOrder(sample_order),
            file_reading=None if reading is None else FileReading.from_fields(reading),
        )
        fields.done()
        if (read.label_kind is LabelKind.PROBABILITIES) != (temperature is not None):
            raise LabelFileError(
                f"{DESCRIPTION_NAME}: probabilities need a temperature, and logits have none"
            )
        if temperature is not None and temperature <= 0:
            raise LabelFileError(f"{DESCRIPTION_NAME}: temperature {temperature} is not above 0")
        return read


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class DenseLabels:
    """An open directory of dense labels.

    Attributes:
        description: what they mean.
        index: view of every row.
        hard_labels: int64, shape (S,), in the order of `index.sample_ids`; None if unknown.
        rows: labels, read in blocks.
        records: recorded views, in row order; None if views were not recorded.
        fingerprints: fingerprints of the samples, whose digest is that of the data set; None
            without images.
        control_images: thumbnails of a few views; None without.
    """

    description: Description
    index: SegmentIndex
    hard_labels: NDArray[np.int64] | None
    rows: LabelRows
    records: RecordedViews | None = None
    fingerprints: SampleFingerprints | None = None
    control_images: ControlImages | None = None

    def context(self) -> RowContext | None:
        """What both producer and student know about the views.

        None where hard labels are unknown, or views are not drawn from seeds.
        """
        policy = self.description.policy
        if self.hard_labels is None or isinstance(policy, RecordedPolicy | UnrenderedPolicy):
            return None
        views = ViewContext(policy, self.index.sample_ids, self.hard_labels)
        return RowContext(self.index, views)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open a directory that `write_tables` and a writer of `labels.npy` have filled.

        Raises:
            LabelFileError: it is unfinished, truncated or contradictory.
        """
        path = directory / DESCRIPTION_NAME
        if not path.is_file():
            begun = (directory / LABELS_NAME).exists()
            raise LabelFileError(
                f"{directory} holds no {DESCRIPTION_NAME}; finish `labelcast relabel` or `import`"
                if begun
                else f"{directory} holds no dense labels: label images with `labelcast relabel`, or"
                " bring in files of labels with `labelcast import`, and give what that wrote"
            )
        if not (directory / LABELS_NAME).is_file():
            raise LabelFileError(f"{directory} holds no {LABELS_NAME}; relabel or import again")
        tables = _read_tables(directory / TABLES_NAME)
        try:
            description = Description.from_bytes(path.read_bytes())
            index = index_of_cells(
                tables["sample_ids"],
                tables["seeds"],
                description.row_order,
                tables.get("present"),
            )
            fingerprints = _fingerprints(tables, description)
            control_images = from_tables(tables, index)
        except ManifestError as error:
            raise LabelFileError(f"{directory}: {error.message}; relabel or import again") from None
        rows = open_label_file(directory / LABELS_NAME)
        rows.expect_classes(description.num_classes)
        hard = tables.get("hard_labels")
        if hard is not None and not ((hard >= 0) & (hard < description.num_classes)).all():
            raise LabelFileError(
                f"{directory}: hard labels must be 0 to {description.num_classes - 1}; correct"
                " those of the data set and relabel, or import again"
            )
        samples = len(index.sample_ids)
        # Labels of shape (samples, seeds, C) have as many rows, but in another order of views.
        if rows.num_rows != index.num_rows or rows.rows_per_seed not in (None, samples):
            raise LabelFileError(
                f"{directory}: {rows.num_rows} labels do not match {index.num_rows} views of"
                f" {samples} samples under {len(index.seeds)} seeds; relabel or import again"
            )
        recorded = isinstance(description.policy, RecordedPolicy)
        return cls(
            description=description,
            index=index,
            hard_labels=tables.get("hard_labels"),
            rows=rows,
            records=_read_records(directory / RECORDS_NAME, index) if recorded else None,
            fingerprints=fingerprints,
            control_images=control_images,
        )


def write_tables(
    directory: Path,
    index: SegmentIndex,
    hard_labels: NDArray[np.int64] | None,
    records: RecordedViews | None = None,
    fingerprints: SampleFingerprints | None = None,
    control_images: ControlImages | None = None,
) -> None:
    """Write the view of every row, and what is known about images and recorded views."""
    tables = as_tables(control_images) | {"sample_ids": index.sample_ids, "seeds": index.seeds}
    if hard_labels is not None:
        tables["hard_labels"] = hard_labels
    if index.present is not None:
        tables["present"] = index.present
    if fingerprints is not None:
        tables[fingerprints.kind.part] = fingerprints.values
    safetensors.numpy.save_file(tables, directory / TABLES_NAME)
    (directory / RECORDS_NAME).unlink(missing_ok=True)
    if records is not None:
        columns = {
            field.name: np.ascontiguousarray(getattr(records, field.name))
            for field in dataclasses.fields(records)
        }
        safetensors.numpy.save_file(columns, directory / RECORDS_NAME)


def _read_records(path: Path, index: SegmentIndex) -> RecordedViews:
    try:
        records = RecordedViews(**safetensors.numpy.load_file(path))
    except (OSError, TypeError, safetensors.SafetensorError):
        raise LabelFileError(f"{path} is missing or damaged; {_IMPORT_ELSEWHERE}") from None
    if any(
        len(getattr(records, field.name)) != index.num_rows for field in dataclasses.fields(records)
    ):
        raise LabelFileError(f"{path} does not hold one record for each label; {_IMPORT_ELSEWHERE}")
    return records


def _fingerprints(
    tables: dict[str, NDArray[Any]], description: Description
) -> SampleFingerprints | None:
    for kind in FingerprintKind:
        if kind.part in tables:
            found = SampleFingerprints(
                kind, tables["sample_ids"], tables[kind.part], description.file_reading
            )
            if found.digest() != description.dataset:
                raise ManifestError("the fingerprints are not those of the data set")
            return found
    return None


def _read_tables(path: Path) -> dict[str, NDArray[Any]]:
    try:
        tables = safetensors.numpy.load_file(path)
        samples = len(tables["sample_ids"])
        hard = tables.get("hard_labels")
        fits = (
            tables["sample_ids"].dtype == np.uint64
            and tables["seeds"].dtype == np.uint32
            and (hard is None or (hard.dtype == np.int64 and len(hard) == samples))
            and tables.get("present", np.zeros(0, np.int64)).dtype == np.int64
            and all(
                tables[kind.part].dtype == np.uint64
                for kind in FingerprintKind
                if kind.part in tables
            )
        )
    except (OSError, KeyError, safetensors.SafetensorError):
        raise LabelFileError(f"{path} is missing or damaged; relabel or import again") from None
    if not fits:
        raise LabelFileError(
            f"{path} holds other tables than relabel writes; relabel or import again"
        )
    return tables


def open_for_fitting(
    path: Path, label_kind: LabelKind | None
) -> tuple[LabelRows, LabelKind, RowContext | None]:
    """Like `open_labels`, for callers that need no identity: does not digest a plain file.

    Returns:
        The labels, their kind, and what is known about their views.
    """
    if path.is_dir():
        dense = _open_directory(path, label_kind)
        return dense.rows, dense.description.label_kind, dense.context()
    return *_open_file(path, label_kind), None


def open_labels(
    path: Path, label_kind: LabelKind | None, *, temperature: float = 1.0
) -> DenseLabels:
    """Open a directory of dense labels, or a plain file as labels of unaugmented samples.

    A plain file of shape (rows, C) gives sample IDs 0 … rows − 1 under the single seed 0; one of
    shape (seeds, samples, C) gives sample IDs 0 … samples − 1 under seeds 0 … seeds − 1. The file's
    digest identifies teacher and data set, since nothing else is known about them.

    Args:
        path: directory or file.
        label_kind: kind of the labels in a plain file; None means logits. A directory says its own.
        temperature: softmax temperature of probabilities in a plain file.

    Raises:
        LabelFileError: it cannot be used; says why.
        InvalidRequestError: a directory says another kind.
        LabelValueError: nobody says the kind of a plain file, and it looks like probabilities.
    """
    if path.is_dir():
        return _open_directory(path, label_kind)
    rows, label_kind = _open_file(path, label_kind)
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
        index=GridIndex(
            np.arange(samples, dtype=np.uint64),
            np.arange(rows.num_rows // samples, dtype=np.uint32),
            RowOrder.SEED_MAJOR,
        ),
        hard_labels=None,
        rows=rows,
    )


def _open_file(path: Path, label_kind: LabelKind | None) -> tuple[LabelFile, LabelKind]:
    """Open a plain file; where nobody says its kind, a few damaged rows do not hide it."""
    rows = open_label_file(path)
    if label_kind is None:
        check_label_kind(rows.read(0, min(_TOLD_BY, rows.num_rows)), LabelKind.LOGITS)
    return rows, label_kind or LabelKind.LOGITS


def _open_directory(path: Path, label_kind: LabelKind | None) -> DenseLabels:
    dense = DenseLabels.open(path)
    described = dense.description.label_kind
    if label_kind not in {None, described}:
        raise InvalidRequestError(
            f"{path} holds {described} as its {DESCRIPTION_NAME} says; leave --label-kind out here,"
            f" or import the files again with --label-kind {label_kind}"
        )
    return dense
