"""Which blobs each part of a label set needs, and how it is made from them.

Everything here is a generator that reads nothing itself: it yields a reference to a blob, is sent
the verified content, and returns the part at the end. `drivers` runs one over a directory, a client
or a store, so that reading and checking are written once.
"""

from collections.abc import Generator, Iterable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import PositionPolicy, RecordedPolicy, UnrenderedPolicy
from labelcast.codec import Codec, read_artifact
from labelcast.context.view_context import ViewContext
from labelcast.errors import ManifestError, ViewNotFoundError
from labelcast.identifiers import Digest
from labelcast.label_set import (
    MAX_REPORT_BYTES,
    BlobRef,
    Manifest,
    Section,
    SegmentIndex,
    ViewIndex,
    digest_of,
    from_canonical,
    index_of,
    table_sections,
)
from labelcast.label_set.control_views import CONTROL_PART, MAX_CONTROL_BYTES, ControlViews
from labelcast.label_set.fingerprints import (
    MAX_READING_BYTES,
    MAX_SITES_BYTES,
    READING_PART,
    SITES_PART,
    FileReading,
    SampleFingerprints,
    SiteFingerprints,
    join_fingerprints,
)
from labelcast.label_set.view_records import ViewRecords, read_records, record_sections

_CONTEXT_DIGEST_ROWS = 4096

T = TypeVar("T")
Opening: TypeAlias = Generator[BlobRef, bytes, T]


def open_codec(manifest: Manifest) -> Opening[Codec]:
    """The codec, proven on its golden rows and against the manifest.

    Raises:
        CodecError: the artifact is damaged, or decodes its golden rows to something else.
        ManifestError: it is not the codec of these labels.
    """
    codec = read_artifact((yield manifest.codec))
    manifest.require_codec(codec)
    return codec


def open_index(manifest: Manifest) -> Opening[ViewIndex]:
    """The index of all views.

    Raises:
        ManifestError: tables that do not increase, or segments that overlap.
    """
    tables = yield from _whole(
        part for segment in manifest.segments for part in table_sections(segment)
    )
    return ViewIndex(
        [index_of(segment, tables.__getitem__) for segment in manifest.segments],
        of_sequences=isinstance(manifest.contract.policy, PositionPolicy),
    )


def open_context(manifest: Manifest, index: ViewIndex) -> Opening[ViewContext | None]:
    """What producer and student both know about the views; None without conditioning.

    All segments of a conditioned set share the tables of the first: `Manifest.require_codec`.

    Raises:
        ManifestError: the context derived here is not the one that the codes were chosen under.
    """
    declared, hard_labels = manifest.contract.context, manifest.segments[0].hard_labels
    if declared is None or hard_labels is None:
        return None
    policy, first = manifest.contract.policy, index.segments[0]
    if isinstance(policy, RecordedPolicy | UnrenderedPolicy):
        raise ManifestError("views that are not drawn from seeds give no context")
    rows = yield from _whole([hard_labels])
    column = np.ascontiguousarray(rows[hard_labels]).view("<u4")[:, 0]
    context = ViewContext(policy, first.sample_ids, column)
    if context_digest(context, first) != declared.digest:
        raise ManifestError(
            "hard labels, views or this labelcast give another context than the label set was made"
            " under, so that its codes would decode to other labels; make it again"
        )
    return context


def context_digest(context: ViewContext, index: SegmentIndex) -> Digest:
    """Digest over the context of at most 4,096 evenly spaced rows of a segment."""
    count = min(index.num_rows, _CONTEXT_DIGEST_ROWS)
    spaced = np.arange(count) * index.num_rows // count
    return digest_of(context.rows(index.views_at(spaced)).tobytes())


def open_records(manifest: Manifest, index: ViewIndex) -> Opening[ViewRecords | None]:
    """Recorded views; None where views are drawn from seeds or not augmented.

    Raises:
        ManifestError: a mix is malformed, or there is not one record for each row.
    """
    rows = yield from _whole(
        part for segment in manifest.segments for part in record_sections(segment)
    )
    return read_records(manifest.contract, manifest.segments, index, rows.__getitem__)


def open_fingerprints(manifest: Manifest, index: ViewIndex) -> Opening[SampleFingerprints | None]:
    """Fingerprints of the samples; None where the label set has none.

    Raises:
        ManifestError: two fingerprints of one sample, or the data set of the contract is not the
            one that they identify.
    """
    kind = manifest.fingerprints
    if kind is None:
        return None
    sections = [segment.fingerprints()[kind] for segment in manifest.segments]
    reading = yield from open_reading(manifest)
    rows = yield from _whole(sections)
    values = [np.ascontiguousarray(rows[part]).view("<u8")[:, 0] for part in sections]
    found = join_fingerprints(
        kind,
        reading,
        [
            (part.sample_ids, column.astype(np.uint64))
            for part, column in zip(index.segments, values, strict=True)
        ],
    )
    if found.digest() != manifest.contract.dataset:
        raise ManifestError(
            "contract.dataset is not the digest of the fingerprints beside it; make the label set"
            " again"
        )
    return found


def open_control_views(manifest: Manifest, index: ViewIndex) -> Opening[ControlViews | None]:
    """Control views; None where the label set has none.

    Raises:
        ManifestError: the part is too large or malformed, or names a view that the set lacks.
    """
    content = yield from _part(manifest, CONTROL_PART, MAX_CONTROL_BYTES)
    if content is None:
        return None
    control = ControlViews.from_bytes(content, manifest.contract.num_classes)
    try:
        index.locate(control.views)
    except ViewNotFoundError as error:
        raise ManifestError(f"parts.{CONTROL_PART}: {error.message}") from None
    return control


def open_reading(manifest: Manifest) -> Opening[FileReading | None]:
    """How files become samples; None where the label set does not say.

    Raises:
        ManifestError: malformed.
    """
    if manifest.site_fingerprints is not None:
        sites = yield from open_sites(manifest)
        return None if sites is None else sites.reading
    content = yield from _part(manifest, READING_PART, MAX_READING_BYTES)
    return None if content is None else FileReading.from_bytes(content)


def open_sites(manifest: Manifest) -> Opening[SiteFingerprints | None]:
    """What the label set says of fingerprints that sites hold; None where it has none.

    Raises:
        ManifestError: malformed.
    """
    content = yield from _part(manifest, SITES_PART, MAX_SITES_BYTES)
    return None if content is None else SiteFingerprints.from_bytes(content)


def open_report(manifest: Manifest) -> Opening[dict[str, Any]]:
    """How well the codes keep the labels; {} if the set does not say.

    Raises:
        ManifestError: the report is too large, or no JSON object.
    """
    if manifest.report is None:
        return {}
    # Checked before it is read: the report is shown, so it is held in memory.
    if manifest.report.size > MAX_REPORT_BYTES:
        raise ManifestError(f"the fit report has more than {MAX_REPORT_BYTES} bytes")
    report = from_canonical((yield manifest.report), "the fit report", max_bytes=MAX_REPORT_BYTES)
    if not isinstance(report, dict):
        raise ManifestError("the fit report must be a JSON object")
    return report


def _part(manifest: Manifest, name: str, max_bytes: int) -> Opening[bytes | None]:
    """Content of an optional part; None where the label set has none."""
    ref = dict(manifest.parts).get(name)
    if ref is None:
        return None
    if ref.size > max_bytes:
        raise ManifestError(f"parts.{name} has more than {max_bytes} bytes")
    return (yield ref)


def _whole(sections: Iterable[Section]) -> Opening[dict[Section, NDArray[np.uint8]]]:
    """Read whole sections: uint8, shape (rows, stride), read-only; each blob is read once."""
    blobs: dict[Digest, bytes] = {}
    rows: dict[Section, NDArray[np.uint8]] = {}
    for section in sections:
        for shard in section.shards:
            if shard.data.digest not in blobs:
                blobs[shard.data.digest] = yield shard.data
        content = b"".join(blobs[shard.data.digest] for shard in section.shards)
        rows[section] = np.frombuffer(content, dtype=np.uint8).reshape(-1, section.stride)
    return rows
