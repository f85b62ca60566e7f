"""The parts of a label set: each is read at first use, verified, and kept."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from labelcast.codec import Codec, Rows
from labelcast.codec.label_decoder import LabelDecoder
from labelcast.codec.latent import Head, LatentCodec
from labelcast.context.view_context import ViewContext
from labelcast.errors import InvalidRequestError
from labelcast.label_set import BlobRef, LabelContract, Manifest, Shard, StoredViews, ViewIndex
from labelcast.label_set.control_views import ControlViews
from labelcast.label_set.fingerprints import SampleFingerprints
from labelcast.label_set.view_records import ViewRecords
from labelcast.opening.drivers import run
from labelcast.opening.parts.heads import named_head, open_head, shard_rows
from labelcast.opening.parts_from_blobs import (
    open_codec,
    open_context,
    open_control_views,
    open_fingerprints,
    open_index,
    open_records,
    open_report,
    open_sites,
)
from labelcast.opening.sites import check_not_for_sites, for_sites, read_site_file


class LabelSetFacts:
    """The contents of the manifest.

    Args:
        manifest: manifest, verified against the requested digest.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.digest = manifest.digest

    @property
    def contract(self) -> LabelContract:
        """The meaning of the labels."""
        return self.manifest.contract

    @property
    def code_stride(self) -> int:
        """Bytes of one view's codes."""
        return self.manifest.segments[0].codes.stride

    @property
    def has_records(self) -> bool:
        """Whether its views were recorded, rather than drawn from seeds."""
        return any(segment.augmentation is not None for segment in self.manifest.segments)

    def __len__(self) -> int:
        """Number of labels."""
        return sum(segment.codes.rows for segment in self.manifest.segments)

    def __repr__(self) -> str:
        contract = self.contract
        return (
            f"<{type(self).__name__} {self.digest[:19]}…: {len(self):,} labels of"
            f" {contract.num_classes} classes by {contract.teacher_name}>"
        )


def check_opened(value: object) -> None:
    """Refuse what is no label set, such as its tag.

    Raises:
        InvalidRequestError: says how to open one.
    """
    if not isinstance(value, LabelSetFacts):
        raise InvalidRequestError(
            f"labels are asked of an opened label set, not of {type(value).__name__}"
            f" {value!r:.80}; open it first, with client.open(tag) or labelcast.open(directory)"
        )


class LabelSetParts(LabelSetFacts, ABC):
    """A label set whose blobs can be read.

    A pickled one keeps none of its parts.
    """

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self._report: dict[str, Any] | None = None
        self._artifact: bytes | None = None
        self._codec: Codec | None = None
        self._index: ViewIndex | None = None
        self._context: ViewContext | None = None
        self._records: ViewRecords | None = None
        self._fingerprints: SampleFingerprints | None = None
        self._control_views: ControlViews | None = None
        self._head: Head | None = None

    def __getstate__(self) -> dict[str, Any]:
        kept = ("artifact", "codec", "index", "context", "records", "fingerprints", "control_views")
        return self.__dict__ | {f"_{part}": None for part in (*kept, "head")}

    @abstractmethod
    def read_blob(self, ref: BlobRef) -> bytes:
        """Read a blob that the manifest names, and verify it.

        Raises:
            BlobNotFoundError, DigestMismatchError: it is missing or damaged.
        """

    @property
    def report(self) -> dict[str, Any]:
        """How well the codes keep the labels; {} if the set does not say."""
        if self._report is None:
            self._report = run(open_report(self.manifest), self.read_blob)
        return self._report

    def artifact(self) -> bytes:
        """The codec's artifact, verified; for decoders that prove themselves on its golden rows."""
        if self._artifact is None:
            self._artifact = self.read_blob(self.manifest.codec)
        return self._artifact

    def codec(self) -> Codec:
        """The codec, proven on its golden rows and against the manifest.

        One whose rows are hidden states has the head, if it is at hand.
        """
        if self._codec is None:
            codec = run(open_codec(self.manifest), lambda _: self.artifact())
            if isinstance(codec, LatentCodec) and (head := self.head()) is not None:
                codec = codec.with_head(head)
            self._codec = codec
        return self._codec

    def head(self) -> Head | None:
        """The head that turns states into logits; None if there is none, or it is only named."""
        if self._head is None and self.manifest.head is not None:
            parts = [self.map_shard(shard) for shard in self.manifest.head.shards]
            self._head = open_head(self.manifest, parts)
        return self._head

    def use_head(self, head: Head) -> None:
        """Decode with a head that is at hand, where the label set only names one.

        Args:
            head: the teacher's.

        Raises:
            CodecFormatError: it is not the one that the labels were made with.
        """
        self._head, self._codec = named_head(self.manifest, head), None

    def map_shard(self, shard: Shard) -> Rows:
        """Rows of a shard, verified: uint8, shape (rows, stride); a mapped file where it is one."""
        return shard_rows(shard, self.read_blob(shard.data))

    def index(self) -> ViewIndex:
        """The index of its views."""
        if self._index is None:
            self._index = run(open_index(self.manifest), self.read_blob)
        return self._index

    def stored_views(self) -> StoredViews:
        """The stored views of each sample, for choosing among them."""
        return StoredViews(self.index())

    def context(self) -> ViewContext | None:
        """What producer and student both know about the views; None without conditioning."""
        if self._context is None and self.contract.context is not None:
            self._context = run(open_context(self.manifest, self.index()), self.read_blob)
        return self._context

    def records(self) -> ViewRecords | None:
        """Recorded views, for replaying them; None where views are drawn from seeds."""
        if self._records is None and self.has_records:
            self._records = run(open_records(self.manifest, self.index()), self.read_blob)
        return self._records

    def fingerprints(self) -> SampleFingerprints | None:
        """What images must be compared with; None where the label set has no fingerprints.

        Raises:
            InvalidRequestError: its sites hold their own.
        """
        check_not_for_sites(self.manifest)
        if self._fingerprints is None and self.manifest.fingerprints is not None:
            opening = open_fingerprints(self.manifest, self.index())
            self._fingerprints = run(opening, self.read_blob)
        return self._fingerprints

    def control_views(self) -> ControlViews | None:
        """A few views as the teacher saw them, with their labels; None where the set has none."""
        if self._control_views is None and self.manifest.has_control_views:
            opening = open_control_views(self.manifest, self.index())
            self._control_views = run(opening, self.read_blob)
        return self._control_views

    def fingerprints_from(self, path: Path | str) -> SampleFingerprints:
        """What images of one site must be compared with, from its file of `labelcast federate`.

        Args:
            path: file; its digest must be one that the label set names.

        Raises:
            InvalidRequestError: the label set was not made for sites, or there is no such file.
            DigestMismatchError: the file is damaged, or of another label set.
        """
        sites = for_sites(run(open_sites(self.manifest), self.read_blob))
        return sites.of(read_site_file(path), str(path))

    def decoder(self) -> LabelDecoder:
        """Make a decoder of this label set's rows, with numpy alone."""
        return LabelDecoder(self.codec(), self.context())
