"""`LabelClient`: a thin shell around `streams` and `transport`.

It holds only configuration until it is used: it can be pickled and sent to another process, where
it opens its own channel.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelcast import wire
from labelcast.errors import LabelcastError
from labelcast.label_set import BlobRef, Expectation, MissingViews
from labelcast.network.places import Place
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.parts.label_set_parts import LabelSetFacts
from labelcast.opening.pending_labels import LocalLabels, PendingLabels
from labelcast.remote.calls import (
    BlobParts,
    check_asked,
    label_set_request,
    labels_request,
    read_label_set,
    read_labels,
    read_resolved,
    resolve_request,
)
from labelcast.remote.node_cache.code_choice import CodeChoice
from labelcast.remote.node_cache.code_stream import stream_codes
from labelcast.remote.node_cache.kept_sets import KeptSets
from labelcast.remote.remote_label_set import RemoteLabelSet
from labelcast.remote.requested_labels import RequestedLabels
from labelcast.remote.retry import DECISIVE, UNPROVEN
from labelcast.remote.session import Session
from labelcast.remote.streams.threaded import Requests, Watch, requests_of
from labelcast.remote.transport import RpcError, Transport
from labelcast.representation import Representation
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views, check_batches

Answer = TypeVar("Answer")


class LabelClient(Session):
    """Synchronous client. Safe to share between threads; picklable."""

    _asynchronous = False

    def _begin(self) -> None:
        super()._begin()
        settings = self._settings
        self._kept = KeptSets(settings.cache, settings.fetch_shards, self.blob, self._telemetry)

    def open(self, reference: str, *, expect: Expectation | None = None) -> RemoteLabelSet:
        """Resolve a tag or digest once, and check it against what the student expects.

        Raises:
            InvalidRequestError: the reference is no text.
            LabelSetNotFoundError, LabelSetRetiredError: there is nothing to read.
            ContractMismatchError: the label set is not as expected; names the field.
            NetworkError: the service cannot be reached, or does not answer in time.
        """
        request = label_set_request(reference)
        manifest, report = self._ask(
            "GetLabelSet", request, lambda reply: read_label_set(reply, reference, expect)
        )
        return RemoteLabelSet(self, manifest, report)

    def read_blob(self, label_set: LabelSetFacts, ref: BlobRef) -> bytes:
        """Read a whole blob and verify it, from the cache directory if there is one.

        Raises:
            DigestMismatchError: it arrived damaged.
            Otherwise as `blob`.
        """
        cache = self._settings.cache
        if cache is not None:
            return cache.read(ref, lambda: self.blob(label_set, ref))
        return self._accept_blob(ref, b"".join(self.blob(label_set, ref)))

    def blob(self, label_set: LabelSetFacts, ref: BlobRef) -> Iterator[bytes]:
        """Read a blob of a label set, piece by piece; the caller checks it against its digest.

        A broken transfer resumes where it stopped, for up to `reconnect_seconds` without progress.

        Raises:
            BlobNotFoundError: the label set has no such blob.
            StorageError, NetworkError: the transfer failed.
        """
        parts, retries = BlobParts(label_set, ref), self._retries()
        while not parts.done:
            server, watch = self._servers.current, Watch(parts, self._settings.reply_seconds)
            call: Any = None
            try:
                call = server.unary_stream("GetBlob")(parts.request(), metadata=server.metadata)
                for reply in watch.over(call):
                    data = parts.accept(reply)
                    retries.progress()
                    yield data
                parts.finish()
            except RpcError as error:
                broken = self._broken(error, watch, server, "bytes of a blob")
                pause = retries.pause_after(broken, server.place)
            except UNPROVEN as error:
                pause = retries.pause_after(error, server.place, unproven=True)
            else:
                continue
            finally:
                watch.close()
                if call is not None:
                    call.cancel()
            time.sleep(pause)

    def resolve(
        self, label_set: LabelSetFacts, views: Views, missing: MissingViews
    ) -> tuple[Views, NDArray[np.int64]]:
        """Find stored views, if not every view is stored; see `labelcast.label_set.MissingViews`.

        `resolve(label_set, Views.of(sample_ids, draw), MissingViews.DRAW_ALL)` gives a stored view
        of each sample, as label pruning (LPLD) trains.

        Returns:
            The views, and which rows of the request they answer: int64, increasing.

        Raises:
            ViewNotFoundError: a view is refused, or a sample has no stored view.
            NetworkError: the call failed.
        """
        request = resolve_request(label_set, views, missing)
        return self._ask(
            "ResolveViews", request, lambda reply: read_resolved(reply, label_set, views, missing)
        )

    def labels(
        self, label_set: LabelSetFacts, views: Views, representation: Representation
    ) -> DeliveredLabels:
        """Read one batch of labels, in the order of `views`.

        Raises:
            ViewNotFoundError: a view that the label set lacks.
            UnsupportedFormError, ContractMismatchError: the labels do not come in that form.
            StorageError, NetworkError: the call failed.
        """
        check_asked(label_set, views, representation)
        kept = self._kept.codes(label_set, representation)
        if kept is not None and kept.decide() and (found := kept.read(views)) is not None:
            return self._telemetry.delivered(found)
        request = labels_request(label_set, views, representation)
        if kept is not None:
            kept.count_asked(len(views))
        labels = self._ask(
            "GetLabels",
            request,
            lambda reply: read_labels(reply, label_set, views, representation),
        )
        return self._telemetry.delivered(labels)

    def ask(
        self, label_set: LabelSetFacts, views: Views, representation: Representation
    ) -> PendingLabels:
        """Request one batch and return at once; it travels while the caller does other things.

        Codes of whole shards in the cache are gathered when the caller wants them.

        Raises:
            UnsupportedFormError, ContractMismatchError: the labels do not come in that form.
            InvalidRequestError: no views.
            ForkedChannelError: this process cannot use a channel.
        """
        check_asked(label_set, views, representation)
        kept = self._kept.codes(label_set, representation)
        if kept is not None and kept.decide():
            return LocalLabels(lambda: self.labels(label_set, views, representation))
        request, settings = labels_request(label_set, views, representation), self._settings
        if kept is not None:
            kept.count_asked(len(views))

        def start() -> tuple[Place, Any]:
            server = self._servers.current
            return server.place, server.unary("GetLabels").future(
                request, timeout=settings.reply_seconds, metadata=server.metadata
            )

        def read(reply: bytes) -> DeliveredLabels:
            return self._telemetry.delivered(read_labels(reply, label_set, views, representation))

        return RequestedLabels(
            start=start,
            read=read,
            retries=self._retries_within,
            translated=self._late_or_broken,
        )

    def stream(
        self, label_set: LabelSetFacts, batches: Iterable[Views], representation: Representation
    ) -> Iterator[DeliveredLabels]:
        """Read labels of many batches, in order, requested ahead of the consumer.

        A broken stream (service restarted, Redis down) resumes where it stopped, for up to
        `reconnect_seconds` without progress. Codes may come from whole shards in the client's
        cache: `code_choice`.

        Args:
            label_set: label set from `open`.
            batches: batches of views, read lazily on a thread of gRPC; or those of a plan
                (`labelcast.plans.Plan.batches`), which the service expands itself.
            representation: form of the labels.

        Raises:
            See `labels`.
        """
        kept = self._kept.codes(label_set, representation)
        if kept is None:
            return self._telemetry.over(self._stream(label_set, batches, representation))
        check_batches(batches)

        def ask(rest: Iterable[Views]) -> Generator[DeliveredLabels]:
            return self._stream(label_set, rest, representation)

        return self._telemetry.over(stream_codes(kept, batches, ask))

    def code_choice(self, label_set: LabelSetFacts) -> CodeChoice | None:
        """How codes of a label set come in this process: by rows, or of whole shards.

        Returns:
            The choice at present; None without a cache, or before any codes were asked for.
        """
        return self._kept.choice(label_set)

    def _stream(
        self, label_set: LabelSetFacts, batches: Iterable[Views], representation: Representation
    ) -> Generator[DeliveredLabels]:
        exchange, retries = self._exchange(label_set, batches, representation), self._retries()
        condition, reading = threading.Condition(), threading.Lock()
        while not exchange.done:
            server, requests = self._servers.current, requests_of(exchange, condition, reading)
            watch = Watch(exchange, self._settings.reply_seconds)
            call: Any = None
            try:
                call = _start(server, requests)
                for reply in watch.over(call):
                    rows = wire.reply_rows(reply)
                    with condition:
                        completed = list(exchange.accept(rows))
                        condition.notify_all()
                    retries.progress()
                    yield from completed
                exchange.finish()
            except RpcError as error:
                broken = self._broken(error, watch, server, "rows")
                pause = retries.pause_after(broken, server.place)
            except UNPROVEN as error:
                pause = retries.pause_after(error, server.place, unproven=True)
            else:
                continue
            finally:
                if isinstance(requests, Requests):
                    # After the rewind, the broken stream must request nothing more.
                    requests.close()
                watch.close()
                if call is not None:
                    call.cancel()
            time.sleep(pause)
            with condition:
                exchange.rewind()
        exchange.raise_failure()

    def close(self) -> None:
        """Close every channel and file; the next call opens others."""
        self._kept.release()
        for channel in self._servers.take_channels():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _broken(
        self, error: RpcError, watch: Watch, server: Transport, owed: str
    ) -> LabelcastError:
        if watch.stalled:
            return self._stalled(server.place, owed)
        return self._translated(error, server.place)

    def _ask(self, method: str, request: Any, read: Callable[[bytes], Answer]) -> Answer:
        attempts = self._attempts()
        while True:
            server = self._servers.current
            try:
                reply = server.unary(method)(
                    request, timeout=attempts.seconds_left, metadata=server.metadata
                )
                return read(reply)
            except RpcError as error:
                translated = self._translated(error, server.place)
                pause = attempts.pause_after(translated, server.place)
            except UNPROVEN as error:
                pause = attempts.pause_after(error, server.place, unproven=True)
            except DECISIVE as error:
                raise attempts.named(error, server.place) from None
            time.sleep(pause)


def _start(server: Transport, requests: Requests | pb.StreamPlanRequest) -> Any:
    if isinstance(requests, Requests):
        return server.stream_stream("StreamLabels")(requests, metadata=server.metadata)
    return server.unary_stream("StreamPlan")(requests, metadata=server.metadata)
