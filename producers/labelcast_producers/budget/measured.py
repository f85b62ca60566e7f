"""The measured size of a label set on disk, split into the same parts."""

from dataclasses import dataclass
from pathlib import Path

from labelcast.identifiers import Digest
from labelcast.label_set.section import BlobRef
from labelcast.label_set_directory import MANIFEST_NAME, LabelSetDirectory
from labelcast_producers.budget.model import SCALES


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLabelSet:
    """Sizes of a label set's files, by part.

    Attributes:
        digest: digest of the label set.
        labels: number of stored labels.
        samples: number of rows in all sample tables.
        payload_bytes: size of the shards of codes.
        augmentation_bytes: size of recorded views; 0 where views are drawn from seeds.
        tables_bytes: size of samples, seeds, presence, hard labels and optional parts, and of all
            chunk indexes but that of the codes.
        index_bytes: size of the codes' chunk indexes.
        manifest_bytes: size of the manifest.
        codec_bytes: size of the codec artifact, and of the head where one is shipped.
        report_bytes: size of the report on how well the codes keep the labels.
    """

    digest: Digest
    labels: int
    samples: int
    payload_bytes: int
    augmentation_bytes: int
    tables_bytes: int
    index_bytes: int
    manifest_bytes: int
    codec_bytes: int
    report_bytes: int

    @property
    def container_bytes(self) -> int:
        """Tables, chunk indexes and manifest."""
        return self.tables_bytes + self.index_bytes + self.manifest_bytes

    @property
    def parts(self) -> dict[str, int]:
        """Bytes of each part, by name."""
        return {
            "payload": self.payload_bytes,
            "augmentation": self.augmentation_bytes,
            "container": self.container_bytes,
            "codec": self.codec_bytes,
            "report": self.report_bytes,
        }

    @property
    def total_bytes(self) -> int:
        """Size of all files: the sum of the parts."""
        return sum(self.parts.values())

    @property
    def total_here(self) -> float:
        """Total bytes per label of this set."""
        return self.total_bytes / self.labels

    @property
    def total_at(self) -> dict[int, float]:
        """Total bytes per label that this codec would reach at 1, 10 and 100 million labels.

        Payload, tables and indexes grow with the labels (at the same number of views per sample);
        codec, head, report and manifest do not, except for a few hundred bytes of manifest for each
        32 MiB of codes. `labelcast info` counts the same way.
        """
        fixed = self.codec_bytes + self.report_bytes + self.manifest_bytes
        growing = (self.total_bytes - fixed) / self.labels
        return {count: growing + fixed / count for count in SCALES}


def measure(directory: Path) -> MeasuredLabelSet:
    """Add up the sizes of a label set's files, reading nothing but the manifest.

    A blob that is used twice exists once on disk and is counted once, where it is named first.
    Files that the manifest does not name are not counted.

    Raises:
        ManifestError: there is no label set, or its manifest is damaged.
        BlobNotFoundError: a file is missing or of the wrong size.
    """
    label_set = LabelSetDirectory(directory)
    manifest, seen = label_set.manifest, set[str]()

    def sizes(refs: list[BlobRef]) -> int:
        total = 0
        for ref in refs:
            if ref.digest not in seen:
                seen.add(ref.digest)
                total += label_set.path(ref).stat().st_size
        return total

    codes = [segment.codes for segment in manifest.segments]
    records, tables = [], []
    for segment in manifest.segments:
        for name, section in segment.sections().items():
            if name in ("records", "mixes"):
                records.append(section)
            elif name != "codes":
                tables.append(section)
    augmentation = sizes([shard.data for section in records for shard in section.shards])
    return MeasuredLabelSet(
        digest=label_set.digest,
        labels=manifest.num_labels,
        samples=sum(segment.sample_ids.rows for segment in manifest.segments),
        payload_bytes=sizes([shard.data for section in codes for shard in section.shards]),
        augmentation_bytes=augmentation,
        index_bytes=sizes([shard.index for section in codes for shard in section.shards]),
        tables_bytes=sizes(
            [
                *(ref for section in [*tables, *records] for ref in section.blobs()),
                *(ref for _, ref in manifest.parts),
            ]
        ),
        manifest_bytes=(directory / MANIFEST_NAME).stat().st_size,
        # Decoding needs the head as it needs the codec.
        codec_bytes=sizes(
            [manifest.codec, *([] if manifest.head is None else manifest.head.blobs())]
        ),
        report_bytes=0 if manifest.report is None else sizes([manifest.report]),
    )
