"""What both clients share: settings, retries, and reading replies. Opens nothing itself."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike

from labelcast.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    LabelcastError,
    ServiceUnavailableError,
)
from labelcast.identifiers import one_of
from labelcast.label_set import (
    BlobRef,
    check_digest,
)
from labelcast.network.endpoint import addresses_of
from labelcast.network.places import Place
from labelcast.network.tls import Tls
from labelcast.opening.parts.label_set_parts import LabelSetFacts
from labelcast.remote.calls import label_exchange
from labelcast.remote.node_cache.blob_cache import DEFAULT_MIB, BlobCache
from labelcast.remote.node_cache.code_choice import FetchShards
from labelcast.remote.retry import Attempts, Retries
from labelcast.remote.servers import Servers
from labelcast.remote.streams.listed import StreamExchange, default_window
from labelcast.remote.streams.planned import PlanExchange
from labelcast.remote.telemetry.telemetry import Telemetry
from labelcast.remote.transport import RpcError, WireBytes, translate
from labelcast.representation import Representation
from labelcast.views import Views


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    addresses: tuple[str, ...]
    token: str | None = field(repr=False)
    tls: Tls | None
    allow_plaintext: bool
    deadline_seconds: float
    reconnect_seconds: float
    reply_seconds: float
    rows_in_flight: int | None
    cache: BlobCache | None
    fetch_shards: FetchShards
    metrics: bool

    def __post_init__(self) -> None:
        for name in ("deadline_seconds", "reconnect_seconds", "reply_seconds"):
            value: object = getattr(self, name)
            # At the first outage it would be too late to say so.
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InvalidRequestError(f"{name} is {value!r}, must be a number from 0 up")
        rows: object = self.rows_in_flight
        if rows is not None and not (isinstance(rows, int) and rows >= 1):
            raise InvalidRequestError(f"rows_in_flight is {rows!r}, must be at least 1")


class Session:
    """Configuration and per-process state of a client; the shells add the calls."""

    _asynchronous: bool

    def __init__(
        self,
        address: str | Sequence[str],
        *,
        token: str | None = None,
        tls: Tls | bool = False,
        allow_plaintext: bool = False,
        deadline_seconds: float = 30.0,
        reconnect_seconds: float = 60.0,
        reply_seconds: float = 60.0,
        rows_in_flight: int | None = None,
        cache_directory: str | PathLike[str] | bool | None = None,
        cache_mib: int = DEFAULT_MIB,
        fetch_shards: FetchShards | str = FetchShards.AUTO,
        metrics: bool = False,
    ) -> None:
        """Keep the configuration; nothing is opened yet.

        Args:
            address: host:port of the service, [v6]:port or unix:path. Several servers with commas
                between or as a sequence, or a name that leads to several: the client stays with one
                while it answers, and goes on to the next.
            token: bearer token, if the service needs one for reading.
            tls: True to speak TLS with a service whose authority the operating system trusts; a
                `Tls` to name the authority, or to prove who this client is.
            allow_plaintext: whether labels and token may leave this machine without TLS.
            deadline_seconds: seconds for a unary call, including all its attempts; one server that
                is silent takes half of them, if there are others.
            reconnect_seconds: seconds to retry a broken stream or call before giving up;
                the first call to a service that has never answered gives up after ten seconds. 0
                asks each server once.
            reply_seconds: seconds that a stream waits for requested rows, or a transfer for the
                next bytes, before it counts as broken; a message may have been lost.
            rows_in_flight: labels requested ahead of the consumer on a stream; None for 2 MiB of
                them, but at least 16,384.
            cache_directory: directory of a cache that processes of this machine share and that
                keeps what is fetched between runs; True for `labelcast` in the user's own cache
                directory; None for none.
            cache_mib: MiB that the cache may hold; what was used longest ago goes first.
            fetch_shards: whether whole shards of codes are fetched into the cache once, and rows
                gathered here: "auto" when they are fewer bytes than the rows, "always" or "never".
                The asynchronous client asks for rows.
            metrics: whether to count labels, waiting and failures for Prometheus, in the metrics of
                this process; needs prometheus-client.

        Raises:
            InvalidRequestError: an address, a number or the token is impossible, plain text would
                leave this machine and is not allowed, shards are to be fetched without a cache, or
                prometheus-client is missing.
        """
        cache = BlobCache.of(cache_directory, cache_mib)
        fetch_shards = one_of(FetchShards, fetch_shards, "fetch_shards")
        if cache is None and fetch_shards is FetchShards.ALWAYS:
            raise InvalidRequestError(
                "fetch_shards='always' needs a cache; give cache_directory=True, or a directory"
            )
        self._settings = _Settings(
            addresses=addresses_of(address),
            token=token,
            tls=Tls.of(tls),
            allow_plaintext=allow_plaintext,
            deadline_seconds=deadline_seconds,
            reconnect_seconds=reconnect_seconds,
            reply_seconds=reply_seconds,
            rows_in_flight=rows_in_flight,
            cache=cache,
            fetch_shards=fetch_shards,
            metrics=metrics,
        )
        self._begin()

    def __getstate__(self) -> _Settings:
        return self._settings

    def __setstate__(self, settings: _Settings) -> None:
        self._settings = settings
        self._begin()

    def _begin(self) -> None:
        """Make what belongs to this process."""
        self._servers = self._new_servers()
        self._telemetry = Telemetry.of(metrics=self._settings.metrics)

    def _new_servers(self) -> Servers:
        return Servers(
            self._settings.addresses,
            self._settings.token,
            tls=self._settings.tls,
            allow_plaintext=self._settings.allow_plaintext,
            asynchronous=self._asynchronous,
        )

    @property
    def wire_bytes(self) -> WireBytes:
        """Bytes sent and received by this client in this process."""
        return self._servers.wire_bytes

    def _exchange(
        self, label_set: LabelSetFacts, batches: Iterable[Views], representation: Representation
    ) -> StreamExchange | PlanExchange:
        return label_exchange(
            label_set, batches, representation, rows_in_flight=self._settings.rows_in_flight
        )

    def rows_ahead(self, label_set: LabelSetFacts, representation: Representation) -> int:
        """Number of labels to request ahead of the consumer."""
        chosen = self._settings.rows_in_flight
        num_classes = label_set.contract.num_classes
        row_stride = representation.row_stride(num_classes, label_set.code_stride)
        return default_window(row_stride) if chosen is None else chosen

    def count_missed(self, reason: str, rows: int) -> None:
        """A loop went on without so many labels; see `LoopReader`."""
        self._telemetry.missed(reason, rows)

    def _retries(self) -> Retries:
        return Retries(
            self._settings.reconnect_seconds,
            servers=self._servers,
            failed=self._telemetry.failed,
        )

    def _translated(self, error: RpcError, place: Place) -> LabelcastError:
        return translate(error, str(place), self._settings.tls)

    def _stalled(self, place: Place, owed: str) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            f"{place} owes {owed} and sent none for {self._settings.reply_seconds:g}"
            " s; look at its load in /metrics, or raise reply_seconds"
        )

    def _attempts(self) -> Attempts:
        return Attempts(
            self._settings.reconnect_seconds,
            servers=self._servers,
            failed=self._telemetry.failed,
            deadline_seconds=self._settings.deadline_seconds,
        )

    def _retries_within(self, seconds: float | None, again: bool) -> Retries:
        """Retries of a call that a loop waits for; see `PendingLabels.result`."""
        if seconds is None:
            return self._retries()
        return Attempts(
            min(seconds, self._settings.reconnect_seconds) if again else 0.0,
            servers=self._servers,
            failed=self._telemetry.failed,
            deadline_seconds=seconds,
        )

    def _late_or_broken(self, error: RpcError, place: Place) -> LabelcastError:
        """Of a call whose reply may take `reply_seconds`: then it is as a stream that stalls."""
        translated = self._translated(error, place)
        late = isinstance(translated, DeadlineExceededError)
        return self._stalled(place, "rows") if late else translated

    def _cached(self, ref: BlobRef) -> bytes | None:
        return None if self._settings.cache is None else self._settings.cache.get(ref)

    def _accept_blob(self, ref: BlobRef, content: bytes) -> bytes:
        check_digest(content, ref.digest, f"blob {ref.digest}")
        if self._settings.cache is not None:
            self._settings.cache.put(ref, content)
        return content
