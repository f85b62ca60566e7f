"""The manifest: canonical JSON that names every byte of a label set and says what it means."""

from dataclasses import dataclass
from typing import Any, Self

from labelcast.augmentation import AugmentationPolicy, Mix, RecordedPolicy
from labelcast.codec import Codec
from labelcast.codec.latent import LatentCodec
from labelcast.errors import ContractMismatchError, ManifestError
from labelcast.identifiers import Digest
from labelcast.label_set.canonical_json import from_canonical, to_canonical
from labelcast.label_set.contract import Expectation, LabelContract
from labelcast.label_set.control_views import CONTROL_PART
from labelcast.label_set.digests import digest_of
from labelcast.label_set.fields import Fields
from labelcast.label_set.fingerprints import READING_PART, SITES_PART, FingerprintKind
from labelcast.label_set.language import LANGUAGE_FEATURE
from labelcast.label_set.optional_parts import Parts, parts_as_json, parts_from, required_features
from labelcast.label_set.section import BlobRef, Section
from labelcast.label_set.segment import RAGGED_FEATURE, Segment
from labelcast.label_set.stages import Stage, check_stages

FORMAT = "labelcast/label-set/1"
MAX_MANIFEST_BYTES = 16 * 2**20
MAX_REPORT_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A label set.

    Attributes:
        contract: meaning of the labels.
        segments: segments, at least one.
        codec: the artifact.
        report: report on how well the codes keep the labels, canonical JSON; or None.
        stages: stages of a staged set, in order; () for others.
        parts: optional blobs, by name; see `label_set.optional_parts`.
        head: the teacher's head, a row for each token; None where the contract names none, or only
            names it.
        requires: features that a reader must know, in order.
    """

    contract: LabelContract
    segments: tuple[Segment, ...]
    codec: BlobRef
    report: BlobRef | None
    stages: tuple[Stage, ...] = ()
    parts: Parts[BlobRef] = ()
    head: Section | None = None
    requires: tuple[str, ...] = ()

    @property
    def num_labels(self) -> int:
        """Labels of all segments."""
        return sum(segment.codes.rows for segment in self.segments)

    @property
    def total_bytes(self) -> int:
        """Size of everything stored: every blob, and the manifest itself."""
        return sum(ref.size for ref in self.blobs().values()) + len(self.to_bytes())

    @property
    def fingerprints(self) -> FingerprintKind | None:
        """What the fingerprints of its samples are of; None where it has none."""
        return next(iter(self.segments[0].fingerprints()), None)

    @property
    def has_control_views(self) -> bool:
        """Whether it holds thumbnails of a few views, with their labels."""
        return CONTROL_PART in dict(self.parts)

    @property
    def site_fingerprints(self) -> BlobRef | None:
        """What it says of fingerprints that sites hold themselves; None where it has none."""
        return dict(self.parts).get(SITES_PART)

    def require(self, expected: Expectation) -> None:
        """Refuse a label set that the student was not made for.

        Raises:
            ContractMismatchError: the first field that differs, with both values.
        """
        try:
            self.contract.require(expected)
        except ContractMismatchError as error:
            if error.facts["field"] != "dataset" or self.fingerprints is not None:
                raise
            raise ContractMismatchError(
                f"{error.message}. It has no fingerprints of samples: one that an earlier labelcast"
                " made of these images expects dataset=SampleTable(dataset).pixels_digest()",
                **error.facts,
            ) from None

    def require_codec(self, codec: Codec) -> None:
        """Refuse a codec that the manifest describes wrongly: its labels would be misread.

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
        language = contract.language
        spec = None if language is None else language.head
        if isinstance(codec, LatentCodec) and (spec is None or spec.width != codec.width):
            raise ManifestError(
                f"the codec's rows are states of {codec.width} channels, the contract names"
                f" {'no head' if spec is None else f'a head of {spec.width}'}"
            )

    def _check_augmentation(self) -> None:
        policy, first = self.contract.policy, self.segments[0]
        recorded = isinstance(policy, RecordedPolicy)
        mixes = isinstance(policy, AugmentationPolicy) and policy.mix is not Mix.NONE
        for number, segment in enumerate(self.segments):
            kept = segment.augmentation
            if (kept is not None) != recorded:
                raise ManifestError(
                    f"segments[{number}]: a recorded policy, and only that, comes with records"
                )
            if isinstance(policy, RecordedPolicy) and kept is not None:
                if kept.records.stride != kept.layout.stride(policy):
                    raise ManifestError(f"segments[{number}]: records of another stride")
                if (kept.mixes is None) != (policy.mix is Mix.NONE):
                    raise ManifestError(f"segments[{number}]: mixes contradict the policy")
            if mixes and segment.sample_ids != first.sample_ids:
                raise ManifestError(
                    f"segments[{number}]: partners are drawn from the table of samples, so all"
                    " segments must share one; stage such sets without mixing, or with records"
                )

    def _check_fingerprints(self) -> None:
        kind = self.fingerprints
        for number, segment in enumerate(self.segments):
            if next(iter(segment.fingerprints()), None) is not kind:
                raise ManifestError(
                    f"segments[{number}]: all segments have fingerprints of one kind, or none has"
                )
        if (READING_PART in dict(self.parts)) != (kind is FingerprintKind.FILES):
            raise ManifestError(
                f"parts.{READING_PART} comes with fingerprints of files, and only with those"
            )
        if kind is not None and self.site_fingerprints is not None:
            raise ManifestError(f"parts.{SITES_PART} is in place of fingerprints, not beside them")

    def _check_sequences(self) -> None:
        language, head = self.contract.language, self.head
        used = {
            LANGUAGE_FEATURE: language is not None,
            RAGGED_FEATURE: any(segment.lengths is not None for segment in self.segments),
        }
        for feature, is_used in used.items():
            if (feature in self.requires) != is_used:
                raise ManifestError(
                    f"the manifest {'uses' if is_used else 'requires'} {feature} without"
                    f" {'requiring' if is_used else 'using'} it"
                )
        spec = None if language is None else language.head
        if head is None:
            return
        if spec is None or (head.rows, head.stride) != (self.contract.num_classes, spec.stride):
            raise ManifestError("the manifest's head is not the one that its contract names")

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

    def blobs(self) -> dict[Digest, BlobRef]:
        """Every blob by digest."""
        refs = [self.codec, *([] if self.report is None else [self.report])]
        refs += [ref for _, ref in self.parts]
        refs += [ref for section in self.sections() for ref in section.blobs()]
        return {ref.digest: ref for ref in refs}

    def sections(self) -> list[Section]:
        """Every section: those of all segments, and the head."""
        found = [each for segment in self.segments for each in segment.sections().values()]
        return found if self.head is None else [*found, self.head]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        value: dict[str, Any] = {
            "format": FORMAT,
            "contract": self.contract.as_json(),
            "segments": [segment.as_json() for segment in self.segments],
            "codec": self.codec.as_json(),
            "report": None if self.report is None else self.report.as_json(),
        }
        if self.stages:
            value["stages"] = [stage.as_json() for stage in self.stages]
        if self.head is not None:
            value["head"] = self.head.as_json()
        if self.requires:
            value["requires"] = list(self.requires)
        return to_canonical(value | parts_as_json(self.parts, BlobRef.as_json))

    @property
    def digest(self) -> Digest:
        """Digest that identifies the label set."""
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
        # First, so that a newer manifest is not called malformed.
        requires = required_features(fields)
        report, head = fields.take("report"), fields.optional_object("head")
        manifest = cls(
            contract=LabelContract.from_fields(fields.object("contract")),
            segments=tuple(Segment.from_fields(entry) for entry in fields.objects("segments")),
            codec=BlobRef.from_fields(fields.object("codec")),
            report=None if report is None else BlobRef.from_fields(Fields(report, "report")),
            stages=tuple(Stage.from_fields(stage) for stage in fields.optional_objects("stages")),
            parts=parts_from(fields, BlobRef.from_fields),
            head=None if head is None else Section.from_fields(head),
            requires=requires,
        )
        fields.done()
        if not manifest.segments:
            raise ManifestError("the manifest has no segments")
        check_stages(manifest.stages, len(manifest.segments))
        manifest._check_augmentation()
        manifest._check_fingerprints()
        manifest._check_sequences()
        if manifest.contract.codec != manifest.codec.digest:
            raise ManifestError("contract.codec is not the digest of the codec beside it")
        if manifest.to_bytes() != content:
            # One meaning must have one digest: 0 for 0.0 in a policy would make it two.
            raise ManifestError("the manifest's numbers are not spelled as labelcast writes them")
        return manifest
