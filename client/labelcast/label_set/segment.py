"""A segment: all views of some samples under some seeds, or those of them that exist."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from labelcast.augmentation import MIX_STRIDE, RecordLayout
from labelcast.errors import ManifestError
from labelcast.label_set.fields import Fields
from labelcast.label_set.fingerprints import FINGERPRINT_BYTES, FingerprintKind
from labelcast.label_set.optional_parts import Parts, parts_as_json, parts_from
from labelcast.label_set.section import Section

LENGTHS_PART = "lengths"
RAGGED_FEATURE = "ragged"
"""What a manifest requires of its reader if a segment has lengths."""


class RowOrder(StrEnum):
    """How the views of a segment become row numbers."""

    SEED_MAJOR = "seed-major"  # row = seed position × samples + sample position
    SAMPLE_MAJOR = "sample-major"  # row = sample position × seeds + seed position


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Recorded views of a segment.

    Attributes:
        layout: layout of a record.
        records: one packed record per view, in the order of the codes.
        mixes: rows of MIX_STRIDE bytes that records name; None if no view is mixed.
    """

    layout: RecordLayout
    records: Section
    mixes: Section | None

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_fields` reads back."""
        return {
            "layout": self.layout.as_json(),
            "records": self.records.as_json(),
            "mixes": None if self.mixes is None else self.mixes.as_json(),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read strictly."""
        mixes = fields.take("mixes")
        read = cls(
            RecordLayout.from_json(fields.take("layout")),
            Section.from_fields(fields.object("records")),
            None if mixes is None else Section.from_fields(Fields(mixes, f"{fields.path}.mixes")),
        )
        fields.done()
        if read.mixes is not None and read.mixes.stride != MIX_STRIDE:
            raise ManifestError(f"{fields.path}.mixes must have stride {MIX_STRIDE}")
        return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Views of some samples under some seeds.

    Attributes:
        row_order: order of the rows of `codes`.
        sample_ids: rows of one little-endian uint64, strictly increasing.
        seeds: rows of one little-endian uint32, strictly increasing. Of sequences, positions.
        codes: one packed row per existing view.
        hard_labels: rows of one little-endian uint32, in the order of `sample_ids`; or None.
        presence: one bit per view, in row order, eight to a row, the lowest first; None if every
            view exists.
        augmentation: recorded views; None where views are drawn from seeds or not augmented.
        parts: optional sections, by name; see `label_set.optional_parts`.
    """

    row_order: RowOrder
    sample_ids: Section
    seeds: Section
    codes: Section
    hard_labels: Section | None
    presence: Section | None = None
    augmentation: Augmentation | None = None
    parts: Parts[Section] = ()

    @property
    def lengths(self) -> Section | None:
        """Rows of one little-endian uint32, the positions of each sample; None if all have one."""
        return dict(self.parts).get(LENGTHS_PART)

    def fingerprints(self) -> dict[FingerprintKind, Section]:
        """Fingerprints of the samples; {} where there are none."""
        parts = dict(self.parts)
        return {kind: parts[kind.part] for kind in FingerprintKind if kind.part in parts}

    def sections(self) -> dict[str, Section]:
        """Every section by name."""
        kept = self.augmentation
        named = {
            "sample_ids": self.sample_ids,
            "seeds": self.seeds,
            "codes": self.codes,
            "hard_labels": self.hard_labels,
            "presence": self.presence,
            "records": None if kept is None else kept.records,
            "mixes": None if kept is None else kept.mixes,
            **{f"parts.{name}": section for name, section in self.parts},
        }
        return {name: section for name, section in named.items() if section is not None}

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_fields` reads back."""
        hard = self.hard_labels
        value: dict[str, Any] = {
            "row_order": str(self.row_order),
            "sample_ids": self.sample_ids.as_json(),
            "seeds": self.seeds.as_json(),
            "codes": self.codes.as_json(),
            "hard_labels": None if hard is None else hard.as_json(),
        }
        if self.presence is not None:
            value["presence"] = self.presence.as_json()
        if self.augmentation is not None:
            value["augmentation"] = self.augmentation.as_json()
        return value | parts_as_json(self.parts, Section.as_json)

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read strictly."""
        order = fields.text("row_order")
        if order not in set(RowOrder):
            raise ManifestError(f"{fields.path}.row_order {order!r} is unknown")
        hard = fields.take("hard_labels")
        presence = fields.optional_object("presence")
        kept = fields.optional_object("augmentation")
        segment = cls(
            row_order=RowOrder(order),
            sample_ids=Section.from_fields(fields.object("sample_ids")),
            seeds=Section.from_fields(fields.object("seeds")),
            codes=Section.from_fields(fields.object("codes")),
            hard_labels=None
            if hard is None
            else Section.from_fields(Fields(hard, f"{fields.path}.hard_labels")),
            presence=None if presence is None else Section.from_fields(presence),
            augmentation=None if kept is None else Augmentation.from_fields(kept),
            parts=parts_from(fields, Section.from_fields),
        )
        fields.done()
        segment._check(fields.path)
        return segment

    def _check(self, path: str) -> None:
        samples = self.sample_ids.rows
        if self.sample_ids.stride != 8 or self.seeds.stride != 4:
            raise ManifestError(f"{path}: sample_ids must have stride 8 and seeds stride 4")
        self._check_rows(path)
        kept = self.augmentation
        if kept is not None and kept.records.rows != self.codes.rows:
            raise ManifestError(f"{path}: there must be one record for each row of codes")
        hard = self.hard_labels
        if hard is not None and (hard.stride != 4 or hard.rows != samples):
            raise ManifestError(f"{path}: hard_labels must be one row of 4 bytes a sample")
        prints = self.fingerprints()
        if len(prints) > 1:
            raise ManifestError(f"{path}: all fingerprints are of one kind")
        for kind, section in prints.items():
            if (section.stride, section.rows) != (FINGERPRINT_BYTES, samples):
                raise ManifestError(
                    f"{path}.parts.{kind.part} must be one row of {FINGERPRINT_BYTES} bytes a"
                    " sample"
                )

    def _check_rows(self, path: str) -> None:
        """Which views have a row; of sequences, `index_of` compares what their lengths say."""
        samples, seeds, bits = self.sample_ids.rows, self.seeds.rows, self.presence
        lengths, views = self.lengths, samples * seeds
        if lengths is not None:
            if (lengths.stride, lengths.rows) != (4, samples):
                raise ManifestError(f"{path}.parts.lengths must be one row of 4 bytes a sample")
            if self.row_order is not RowOrder.SAMPLE_MAJOR:
                raise ManifestError(f"{path}: sequences of different lengths are sample-major")
            if bits is not None and bits.stride != 1:
                raise ManifestError(f"{path}: presence must have stride 1")
            return
        if bits is None and self.codes.rows != views:
            raise ManifestError(
                f"{path}: {samples} samples × {seeds} seeds are not {self.codes.rows} rows of codes"
            )
        if bits is not None and (bits.stride, bits.rows) != (1, -(-views // 8)):
            raise ManifestError(f"{path}: presence must be one bit for each of the views")
