"""What both clients share: settings, retries, and reading replies. Opens nothing itself."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast import wire
from labelcast.cache import BlobCache
from labelcast.codec import Codec, CodecHeader, read_artifact
from labelcast.context import ViewContext, derive_context
from labelcast.errors import ProtocolError, WrongSubjectError
from labelcast.exchange import DeliveredLabels, StreamExchange
from labelcast.label_set import (
    MAX_REPORT_BYTES,
    BlobRef,
    Expectation,
    LabelContract,
    Manifest,
    Missing,
    Section,
    ViewIndex,
    check_digest,
    check_reference,
    from_canonical,
    index_of,
    table_sections,
)
from labelcast.recorded_views import ViewRecords, read_records, record_sections
from labelcast.remote.retry import Retries
from labelcast.representation import Form, Representation
from labelcast.transport import Transport, WireBytes
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views

_FIRST_CONTACT_SECONDS = 10.0


@dataclass(frozen=True, eq=False, slots=True)
class RemoteLabelSet:
    """A label set that a client has resolved, checked and pinned by digest.

    Attributes:
        digest: of the manifest.
        manifest: verified against the digest.
        report: how well the codes keep the labels, verified against the manifest; {} if none.
    """

    digest: str
    manifest: Manifest
    report: dict[str, Any]

    @property
    def contract(self) -> LabelContract:
        """What the labels mean."""
        return self.manifest.contract

    @property
    def code_stride(self) -> int:
        """Payload bytes a label."""
        return self.manifest.segments[0].codes.stride


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    address: str
    token: str | None = field(repr=False)
    deadline_seconds: float
    reconnect_seconds: float
    rows_in_flight: int
    cache_directory: Path | None


class Session:
    """Configuration and per-process state of a client; the shells add the calls."""

    _asynchronous: bool

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        deadline_seconds: float = 30.0,
        reconnect_seconds: float = 60.0,
        rows_in_flight: int = 16_384,
        cache_directory: Path | None = None,
    ) -> None:
        """Keep the configuration; nothing is opened yet.

        Args:
            address: host:port of the service, [v6]:port or unix:path.
            token: bearer token, where the service wants one for reading.
            deadline_seconds: of every unary call, with all its attempts.
            reconnect_seconds: how long a broken stream or call is taken up again before giving up;
                the first call to a service that has never answered gives up after ten seconds.
            rows_in_flight: labels asked for ahead of the consumer on a stream.
            cache_directory: keeps codecs between runs; None for none.

        Raises:
            InvalidRequestError: an impossible address or token.
        """
        self._settings = _Settings(
            address=address,
            token=token,
            deadline_seconds=deadline_seconds,
            reconnect_seconds=reconnect_seconds,
            rows_in_flight=rows_in_flight,
            cache_directory=cache_directory,
        )
        self._transport = Transport(address, token, asynchronous=self._asynchronous)
        self._codecs: dict[str, Codec] = {}
        self._artifacts: dict[str, bytes] = {}
        self._contexts: dict[str, ViewContext] = {}
        self._indexes: dict[str, ViewIndex] = {}
        self._records: dict[str, ViewRecords] = {}

    def __getstate__(self) -> _Settings:
        return self._settings

    def __setstate__(self, settings: _Settings) -> None:
        self._settings = settings
        self._transport = Transport(
            settings.address, settings.token, asynchronous=self._asynchronous
        )
        self._codecs = {}
        self._artifacts = {}
        self._contexts = {}
        self._indexes = {}
        self._records = {}

    @property
    def wire_bytes(self) -> WireBytes:
        """Bytes sent and received by this client in this process."""
        return self._transport.wire_bytes

    def _exchange(
        self, label_set: RemoteLabelSet, batches: Iterable[Views], representation: Representation
    ) -> StreamExchange:
        return label_exchange(
            label_set, batches, representation, rows_in_flight=self._settings.rows_in_flight
        )

    def _retries(self) -> Retries:
        return Retries(self._settings.reconnect_seconds)

    def _attempts(self) -> "Attempts":
        return Attempts(
            deadline_seconds=self._settings.deadline_seconds,
            # Whoever has the address wrong should not wait long to learn it.
            patience_seconds=self._settings.reconnect_seconds
            if self._transport.met
            else min(self._settings.reconnect_seconds, _FIRST_CONTACT_SECONDS),
        )

    def _cached(self, ref: BlobRef) -> bytes | None:
        directory = self._settings.cache_directory
        return None if directory is None else BlobCache(directory).get(ref)

    def _accept_blob(self, ref: BlobRef, content: bytes) -> bytes:
        check_digest(content, ref.digest, f"blob {ref.digest}")
        if self._settings.cache_directory is not None:
            BlobCache(self._settings.cache_directory).put(ref, content)
        return content

    def _accept_context(
        self, label_set: RemoteLabelSet, blobs: Mapping[str, bytes]
    ) -> ViewContext | None:
        """The context of a label set from the content of `context_blobs`."""
        contract, first = label_set.contract, label_set.manifest.segments[0]
        if contract.context is None or first.hard_labels is None:
            return None
        index = index_of(first, lambda section: _rows(section, blobs))
        hard_labels = _rows(first.hard_labels, blobs).reshape(-1).view("<u4")
        context = derive_context(contract, index, hard_labels)
        if context is not None:
            self._contexts[label_set.digest] = context
        return context

    def _accept_index(self, label_set: RemoteLabelSet, blobs: Mapping[str, bytes]) -> ViewIndex:
        """Where the views of a label set lie, from the content of `index_blobs`."""
        parts = [
            index_of(segment, lambda section: _rows(section, blobs))
            for segment in label_set.manifest.segments
        ]
        self._indexes[label_set.digest] = ViewIndex(parts)
        return self._indexes[label_set.digest]

    def _accept_records(
        self, label_set: RemoteLabelSet, index: ViewIndex, blobs: Mapping[str, bytes]
    ) -> ViewRecords | None:
        """The recorded views of a label set, from the content of `record_blobs`."""
        records = read_records(
            label_set.contract,
            label_set.manifest.segments,
            index,
            lambda section: _rows(section, blobs),
        )
        if records is not None:
            self._records[label_set.digest] = records
        return records

    def _accept_artifact(self, label_set: RemoteLabelSet, content: bytes) -> Codec:
        ref = label_set.manifest.codec
        codec = read_artifact(content)
        label_set.manifest.require_codec(codec)
        self._codecs[ref.digest] = codec
        self._artifacts[ref.digest] = content
        return codec


class Attempts(Retries):
    """Attempts at one unary call, all within its deadline.

    Args:
        deadline_seconds: for all of them.
        patience_seconds: from the first failure on.
    """

    def __init__(self, *, deadline_seconds: float, patience_seconds: float) -> None:
        super().__init__(patience_seconds)
        self._deadline = time.monotonic() + deadline_seconds

    @property
    def seconds_left(self) -> float:
        """Time limit of the next attempt."""
        return max(0.001, self._deadline - time.monotonic())

    def next_pause(self, error: Exception, *, unproven: bool = False) -> float:
        """As `Retries.next_pause`; no pause outlasts the deadline."""
        pause = super().next_pause(error, unproven=unproven)
        if time.monotonic() + pause >= self._deadline:
            raise error from None
        return pause


class BlobParts:
    """Asks for the pieces of a blob, and checks that they come in order and within its size.

    Args:
        label_set: digest of a label set that has the blob.
        ref: the blob.
    """

    def __init__(self, label_set: str, ref: BlobRef) -> None:
        self._label_set = label_set
        self._ref = ref
        self._received = 0

    @property
    def done(self) -> bool:
        """Whether every byte has come."""
        return self._received == self._ref.size

    def request(self) -> pb.GetBlobRequest:
        """Request for what is lacking."""
        return pb.GetBlobRequest(
            label_set=self._label_set, blob=self._ref.digest, offset=self._received
        )

    def accept(self, content: bytes) -> bytes:
        """The content of the next piece.

        Raises:
            ProtocolError: no piece, out of order, or more than was announced.
        """
        part = wire.parse(pb.GetBlobResponse, content, ProtocolError)
        end = part.offset + len(part.data)
        if part.offset != self._received or end > self._ref.size:
            raise ProtocolError(f"the service sent blob {self._ref.digest} out of order")
        self._received = end
        return part.data

    def finish(self) -> None:
        """The service sent no more.

        Raises:
            ProtocolError: bytes are missing.
        """
        if not self.done:
            raise ProtocolError(f"the service sent only a part of blob {self._ref.digest}")


def context_blobs(label_set: RemoteLabelSet) -> list[BlobRef]:
    """What must be fetched to derive the context of a label set: none where it has none."""
    first = label_set.manifest.segments[0]
    if label_set.contract.context is None or first.hard_labels is None:
        return []
    return _data_blobs([*table_sections(first), first.hard_labels])


def index_blobs(label_set: RemoteLabelSet) -> list[BlobRef]:
    """What must be fetched to know which views a label set has."""
    return _data_blobs(
        [part for segment in label_set.manifest.segments for part in table_sections(segment)]
    )


def record_blobs(label_set: RemoteLabelSet) -> list[BlobRef]:
    """What must be fetched beside the index to know recorded views: none where none are."""
    return _data_blobs(
        [part for segment in label_set.manifest.segments for part in record_sections(segment)]
    )


def _data_blobs(sections: Iterable[Section]) -> list[BlobRef]:
    return [shard.data for section in sections for shard in section.shards]


def _rows(section: Section, blobs: Mapping[str, bytes]) -> NDArray[np.uint8]:
    content = b"".join(blobs[shard.data.digest] for shard in section.shards)
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, section.stride)


def label_set_request(reference: str) -> pb.GetLabelSetRequest:
    """Request for a label set.

    Raises:
        InvalidRequestError: the reference is no text.
    """
    check_reference(reference)
    return pb.GetLabelSetRequest(reference=reference)


def read_label_set(content: bytes, reference: str, expect: Expectation | None) -> RemoteLabelSet:
    """Verify a reply from end to end, and the contract if something is expected."""
    reply = wire.parse(pb.GetLabelSetResponse, content, ProtocolError)
    other = reference.startswith("sha256:") and reference != reply.digest
    if other or reply.reference != reference:
        raise WrongSubjectError(
            f"the service answered with {reply.reference or reply.digest} when asked for"
            f" {reference}"
        )
    check_digest(reply.manifest, reply.digest, "the manifest")
    manifest = Manifest.from_bytes(reply.manifest)
    report: dict[str, Any] = {}
    if manifest.report is not None:
        check_digest(reply.report, manifest.report.digest, "the fit report")
        report = from_canonical(reply.report, "the fit report", max_bytes=MAX_REPORT_BYTES)
    if expect is not None:
        manifest.contract.require(expect)
    return RemoteLabelSet(reply.digest, manifest, report)


def check_form(label_set: RemoteLabelSet, representation: Representation) -> None:
    """Refuse here what the service would refuse.

    Raises:
        UnsupportedFormError, ContractMismatchError: the labels cannot take that form.
    """
    if representation.form is not Form.CODES:
        contract = label_set.contract
        representation.check(
            CodecHeader(contract.num_classes, contract.label_kind, contract.temperatures)
        )


def labels_request(
    label_set: RemoteLabelSet, views: Views, representation: Representation
) -> pb.GetLabelsRequest:
    """Request for one batch."""
    check_form(label_set, representation)
    return pb.GetLabelsRequest(
        label_set=label_set.digest,
        representation=wire.representation_to_proto(representation),
        views=wire.views_to_proto(views),
    )


def read_labels(
    content: bytes, label_set: RemoteLabelSet, views: Views, representation: Representation
) -> DeliveredLabels:
    """Verify the reply to `labels_request`, as a stream's replies are."""
    reply = wire.parse(pb.GetLabelsResponse, content, ProtocolError)
    exchange = label_exchange(label_set, [views], representation, rows_in_flight=len(views))
    while exchange.next_request() is not None:
        pass
    delivered = [batch for part in reply.parts for batch in exchange.accept(part)]
    exchange.finish()
    return delivered[0]


def label_exchange(
    label_set: RemoteLabelSet,
    batches: Iterable[Views],
    representation: Representation,
    *,
    rows_in_flight: int,
) -> StreamExchange:
    """An exchange for labels of a set.

    Raises:
        UnsupportedFormError, ContractMismatchError: the labels cannot take that form.
        InvalidRequestError: a window that would admit nothing.
    """
    check_form(label_set, representation)
    contract = label_set.contract
    return StreamExchange(
        label_set=label_set.digest,
        representation=representation,
        row_stride=representation.row_stride(contract.num_classes, label_set.code_stride),
        num_classes=contract.num_classes,
        batches=batches,
        rows_in_flight=rows_in_flight,
    )


def resolve_request(
    label_set: RemoteLabelSet, views: Views, missing: Missing
) -> pb.ResolveViewsRequest:
    """Request for stored views."""
    return pb.ResolveViewsRequest(
        label_set=label_set.digest,
        views=wire.views_to_proto(views),
        missing=wire.missing_to_proto(missing),
    )


def read_resolved(
    content: bytes, label_set: RemoteLabelSet, views: Views, missing: Missing
) -> tuple[Views, NDArray[np.int64]]:
    """Verify the reply to `resolve_request`."""
    reply = wire.parse(pb.ResolveViewsResponse, content, ProtocolError)
    return wire.resolved_from_proto(reply, label_set.digest, missing, views)
