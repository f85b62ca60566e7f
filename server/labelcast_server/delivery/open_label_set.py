"""A label set that is open for reading."""

from dataclasses import dataclass

from labelcast.codec import Codec
from labelcast.context.view_context import ViewContext
from labelcast.errors import BlobNotFoundError
from labelcast.identifiers import Digest, is_digest
from labelcast.label_set import BlobRef, Manifest, StoredViews, ViewIndex


@dataclass(frozen=True, slots=True)
class OpenLabelSet:
    """A label set with everything needed to serve it.

    Attributes:
        digest: its identity.
        manifest: parsed.
        content: of the manifest, as stored.
        blobs: all that it names, by digest.
        report: fit report as stored; empty if none.
        artifact: the codec, verified.
        codec: the same, proven on its golden rows.
        index: where every view lies.
        context: of a conditioned codec; None for others.
        stored: which views each sample has.
    """

    digest: Digest
    manifest: Manifest
    content: bytes
    blobs: dict[Digest, BlobRef]
    report: bytes
    artifact: bytes
    codec: Codec
    index: ViewIndex
    context: ViewContext | None
    stored: StoredViews

    def blob_ref(self, blob: str) -> BlobRef:
        """What the manifest says of a blob.

        Raises:
            BlobNotFoundError: it names no such blob.
        """
        if is_digest(blob) and (ref := self.blobs.get(blob)) is not None:
            return ref
        raise BlobNotFoundError(f"label set {self.digest} has no blob {blob[:80]}", blob=blob[:80])
