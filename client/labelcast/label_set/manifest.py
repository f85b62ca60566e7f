"""The manifest: canonical JSON that names every byte of a label set and says what it means."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from labelcast.codec import Codec
from labelcast.errors import ManifestError
from labelcast.label_set.canonical_json import from_canonical, to_canonical
from labelcast.label_set.contract import LabelContract
from labelcast.label_set.digests import digest_of
from labelcast.label_set.fields import Fields
from labelcast.label_set.section import BlobRef, Section

FORMAT = "labelcast/label-set/1"
MAX_MANIFEST_BYTES = 16 * 2**20
MAX_REPORT_BYTES = 2**20


class RowOrder(StrEnum):
    """How the views of a segment become row numbers."""

    SEED_MAJOR = "seed-major"  # row = seed position × samples + sample position
    SAMPLE_MAJOR = "sample-major"  # row = sample position × seeds + seed position


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """All views of some samples under some seeds.

    Attributes:
        row_order: of `codes`.
        sample_ids: rows of one little-endian uint64, strictly increasing.
        seeds: rows of one little-endian uint32, strictly increasing.
        codes: one packed row a view.
        hard_labels: rows of one little-endian uint32, in the order of `sample_ids`; or None.
    """

    row_order: RowOrder
    sample_ids: Section
    seeds: Section
    codes: Section
    hard_labels: Section | None

    def sections(self) -> dict[str, Section]:
        """Every section by name."""
        named = {"sample_ids": self.sample_ids, "seeds": self.seeds, "codes": self.codes}
        return named | ({} if self.hard_labels is None else {"hard_labels": self.hard_labels})

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_fields` reads back."""
        hard = self.hard_labels
        return {
            "row_order": str(self.row_order),
            "sample_ids": self.sample_ids.as_json(),
            "seeds": self.seeds.as_json(),
            "codes": self.codes.as_json(),
            "hard_labels": None if hard is None else hard.as_json(),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read strictly."""
        order = fields.text("row_order")
        if order not in set(RowOrder):
            raise ManifestError(f"{fields.path}.row_order {order!r} is unknown")
        hard = fields.take("hard_labels")
        segment = cls(
            row_order=RowOrder(order),
            sample_ids=Section.from_fields(fields.object("sample_ids")),
            seeds=Section.from_fields(fields.object("seeds")),
            codes=Section.from_fields(fields.object("codes")),
            hard_labels=None
            if hard is None
            else Section.from_fields(Fields(hard, f"{fields.path}.hard_labels")),
        )
        fields.done()
        segment._check(fields.path)
        return segment

    def _check(self, path: str) -> None:
        samples, seeds = self.sample_ids.rows, self.seeds.rows
        if self.sample_ids.stride != 8 or self.seeds.stride != 4:
            raise ManifestError(f"{path}: sample_ids must have stride 8 and seeds stride 4")
        if self.codes.rows != samples * seeds:
            raise ManifestError(
                f"{path}: {samples} samples × {seeds} seeds are not {self.codes.rows} rows of codes"
            )
        hard = self.hard_labels
        if hard is not None and (hard.stride != 4 or hard.rows != samples):
            raise ManifestError(f"{path}: hard_labels must be one row of 4 bytes a sample")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A label set.

    Attributes:
        contract: what the labels mean.
        segments: at least one.
        codec: the artifact.
        report: canonical JSON on how well the codes keep the labels; or None.
    """

    contract: LabelContract
    segments: tuple[Segment, ...]
    codec: BlobRef
    report: BlobRef | None

    @property
    def num_labels(self) -> int:
        """Labels of all segments."""
        return sum(segment.codes.rows for segment in self.segments)

    @property
    def total_bytes(self) -> int:
        """Everything at rest: every blob, and the manifest itself."""
        return sum(ref.size for ref in self.blobs().values()) + len(self.to_bytes())

    def require_codec(self, codec: Codec) -> None:
        """Refuse a codec that the manifest misdescribes: its labels would be taken for others.

        Raises:
            ManifestError: names the field that differs.
        """
        contract, header = self.contract, codec.header
        for field, ours, theirs in (
            ("num_classes", contract.num_classes, header.num_classes),
            ("label_kind", contract.label_kind, header.label_kind),
            ("temperatures", contract.temperatures, header.temperatures),
        ):
            if ours != theirs:
                raise ManifestError(f"contract.{field} is {ours}, the codec's is {theirs}")
        for number, segment in enumerate(self.segments):
            if segment.codes.stride != codec.row_stride:
                raise ManifestError(
                    f"segments[{number}].codes has rows of {segment.codes.stride} bytes,"
                    f" the codec's rows have {codec.row_stride}"
                )
        self._require_context(codec)

    def _require_context(self, codec: Codec) -> None:
        if (self.contract.context is not None) != (codec.context_stride > 0):
            raise ManifestError(
                f"the contract declares {'a' if self.contract.context else 'no'} context, but the"
                f" codec is {'' if codec.context_stride else 'not '}conditioned on one"
            )
        if self.contract.context is None:
            return
        first = self.segments[0]
        for number, segment in enumerate(self.segments):
            # Partners are drawn from the whole table: another table would name other partners.
            if segment.hard_labels is None or (segment.sample_ids, segment.hard_labels) != (
                first.sample_ids,
                first.hard_labels,
            ):
                raise ManifestError(
                    f"segments[{number}]: a conditioned codec needs hard labels, and one table of"
                    " samples for all segments"
                )

    def blobs(self) -> dict[str, BlobRef]:
        """Every blob by digest."""
        refs = [self.codec, *([] if self.report is None else [self.report])]
        for segment in self.segments:
            for section in segment.sections().values():
                refs += section.blobs()
        return {ref.digest: ref for ref in refs}

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return to_canonical(
            {
                "format": FORMAT,
                "contract": self.contract.as_json(),
                "segments": [segment.as_json() for segment in self.segments],
                "codec": self.codec.as_json(),
                "report": None if self.report is None else self.report.as_json(),
            }
        )

    @property
    def digest(self) -> str:
        """The label set's identity."""
        return digest_of(self.to_bytes())

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read strictly.

        Raises:
            ManifestError: not canonical, of an unknown version, or it contradicts itself.
        """
        value = from_canonical(content, "the manifest", max_bytes=MAX_MANIFEST_BYTES)
        fields = Fields(value, "manifest")
        if fields.text("format") != FORMAT:
            raise ManifestError(f"the manifest's format is unknown; this labelcast reads {FORMAT}")
        report = fields.take("report")
        manifest = cls(
            contract=LabelContract.from_fields(fields.object("contract")),
            segments=tuple(Segment.from_fields(entry) for entry in fields.objects("segments")),
            codec=BlobRef.from_fields(fields.object("codec")),
            report=None if report is None else BlobRef.from_fields(Fields(report, "report")),
        )
        fields.done()
        if not manifest.segments:
            raise ManifestError("the manifest has no segments")
        if manifest.contract.codec != manifest.codec.digest:
            raise ManifestError("contract.codec is not the digest of the codec beside it")
        if manifest.to_bytes() != content:
            # One meaning must have one digest: 0 for 0.0 in a policy would make it two.
            raise ManifestError("the manifest's numbers are not spelled as labelcast writes them")
        return manifest
