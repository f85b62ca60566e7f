"""What both clients share: settings, retries, and reading replies. Opens nothing itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Codec, read_artifact
from labelcast.context.view import ViewContext, derive_context
from labelcast.errors import LabelcastError, ServiceUnavailableError
from labelcast.label_set import (
    BlobRef,
    Section,
    ViewIndex,
    check_digest,
    index_of,
    table_sections,
)
from labelcast.label_set.recorded_views import ViewRecords, read_records, record_sections
from labelcast.remote.cache import BlobCache
from labelcast.remote.calls import label_exchange
from labelcast.remote.label_set import RemoteLabelSet
from labelcast.remote.retry import Attempts, Retries
from labelcast.remote.stream import StreamExchange
from labelcast.remote.transport import RpcError, Transport, WireBytes, translate
from labelcast.representation import Representation
from labelcast.views import Views


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    address: str
    token: str | None = field(repr=False)
    deadline_seconds: float
    reconnect_seconds: float
    reply_seconds: float
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
        reply_seconds: float = 60.0,
        rows_in_flight: int = 16_384,
        cache_directory: Path | None = None,
    ) -> None:
        """Keep the configuration; nothing is opened yet.

        Args:
            address: host:port of the service, [v6]:port or unix:path.
            token: bearer token, where the service wants one for reading.
            deadline_seconds: seconds for a unary call, with all its attempts.
            reconnect_seconds: seconds to retry a broken stream or call before giving up;
                the first call to a service that has never answered gives up after ten seconds.
            reply_seconds: seconds that a stream waits for rows it asked for before it counts as
                broken; a message may have been lost.
            rows_in_flight: labels asked for ahead of the consumer on a stream.
            cache_directory: directory that keeps codecs between runs; None for none.

        Raises:
            InvalidRequestError: an impossible address or token.
        """
        self._settings = _Settings(
            address=address,
            token=token,
            deadline_seconds=deadline_seconds,
            reconnect_seconds=reconnect_seconds,
            reply_seconds=reply_seconds,
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
        return Retries(self._settings.reconnect_seconds, answered=self._transport.answered)

    def _translated(self, error: RpcError) -> LabelcastError:
        return translate(error, self._settings.address)

    def _stalled(self) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            f"{self._settings.address} owes rows and sent none for {self._settings.reply_seconds:g}"
            " s; look at its load, or raise reply_seconds"
        )

    def _attempts(self) -> Attempts:
        return Attempts(
            self._settings.reconnect_seconds,
            answered=self._transport.answered,
            deadline_seconds=self._settings.deadline_seconds,
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
