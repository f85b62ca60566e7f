"""A label set that is open for reading."""

from dataclasses import dataclass

from labelcast.codec import Codec
from labelcast.context.view_context import ViewContext
from labelcast.errors import BlobNotFoundError
from labelcast.identifiers import Digest, is_digest
from labelcast.label_set import BlobRef, Manifest, StoredViews, ViewIndex
from labelcast_server.delivery.cache.tables import Mapped


@dataclass(frozen=True, slots=True)
class Tables:
    """What takes memory with the number of samples; see `OpenLabelSet`."""

    index: ViewIndex
    context: ViewContext | None
    stored: StoredViews


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
        tables: where its views lie and what is known about them, mapped.
    """

    digest: Digest
    manifest: Manifest
    content: bytes
    blobs: dict[Digest, BlobRef]
    report: bytes
    artifact: bytes
    codec: Codec
    tables: Mapped[Tables]

    @property
    def index(self) -> ViewIndex:
        """Where every view lies.

        Raises:
            ServiceUnavailableError: its tables were damaged; they come back when the label set is
                asked for again.
        """
        return self.tables.get().index

    @property
    def context(self) -> ViewContext | None:
        """Of a conditioned codec; None for others.

        Raises:
            As `index`.
        """
        return self.tables.get().context

    @property
    def stored(self) -> StoredViews:
        """Which views each sample has.

        Raises:
            As `index`.
        """
        return self.tables.get().stored

    def blob_ref(self, blob: str) -> BlobRef:
        """What the manifest says of a blob.

        Raises:
            BlobNotFoundError: it names no such blob.
        """
        if is_digest(blob) and (ref := self.blobs.get(blob)) is not None:
            return ref
        raise BlobNotFoundError(f"label set {self.digest} has no blob {blob[:80]}", blob=blob[:80])
