"""What a client counts for Prometheus, if it is asked to; see `Session`.

The metrics are those of the process, in prometheus-client's own registry: a client stays picklable,
and workers of a data loader count into PROMETHEUS_MULTIPROC_DIR if the trainer sets it.
"""

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from importlib import import_module
from typing import Any

from labelcast.errors import InvalidRequestError, LabelcastError
from labelcast.opening.delivered import DeliveredLabels


class Telemetry:
    """Counts nothing."""

    def delivered(self, labels: DeliveredLabels) -> DeliveredLabels:
        """Labels go to the caller; returns them."""
        return labels

    def over(self, stream: Generator[DeliveredLabels]) -> Iterator[DeliveredLabels]:
        """Labels of a stream, and the time that their reader waits for them."""
        return stream

    def over_async(self, stream: AsyncGenerator[DeliveredLabels]) -> AsyncIterator[DeliveredLabels]:
        """The same of an asynchronous one."""
        return stream

    def failed(self, error: LabelcastError) -> None:
        """A call or stream failed, and may be tried again."""

    def missed(self, reason: str, rows: int) -> None:
        """A loop goes on without so many labels, for a reason."""

    def chose(self, *, whole_shards: bool) -> None:
        """Codes of a label set come in another way than before."""

    def gathered(self, count: int) -> None:
        """Codes were gathered from the cache of this machine."""

    @classmethod
    def of(cls, *, metrics: bool) -> "Telemetry":
        """What counts for a client.

        Raises:
            InvalidRequestError: `metrics` is true, and prometheus-client is not installed.
        """
        return PrometheusTelemetry() if metrics else cls()


class PrometheusTelemetry(Telemetry):
    """Counts into the metrics of this process."""

    def __init__(self) -> None:
        try:
            self._metrics: Any = import_module("labelcast.remote.telemetry.metrics")
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("prometheus_client"):
                raise
            raise InvalidRequestError(
                "metrics=True needs prometheus-client; install it with:"
                " pip install 'labelcast[metrics]'"
            ) from None

    def delivered(self, labels: DeliveredLabels) -> DeliveredLabels:
        """See `Telemetry`."""
        form = labels.representation.form
        self._metrics.LABELS.labels(form).inc(len(labels.rows))
        self._metrics.BYTES.labels(form).inc(labels.rows.nbytes)
        return labels

    def over(self, stream: Generator[DeliveredLabels]) -> Iterator[DeliveredLabels]:
        """See `Telemetry`."""
        with contextlib.closing(stream):
            began = time.perf_counter()
            for labels in stream:
                self._metrics.STALL_SECONDS.inc(time.perf_counter() - began)
                yield self.delivered(labels)
                began = time.perf_counter()

    async def over_async(
        self, stream: AsyncGenerator[DeliveredLabels]
    ) -> AsyncIterator[DeliveredLabels]:
        """See `Telemetry`."""
        async with contextlib.aclosing(stream):
            began = time.perf_counter()
            async for labels in stream:
                self._metrics.STALL_SECONDS.inc(time.perf_counter() - began)
                yield self.delivered(labels)
                began = time.perf_counter()

    def failed(self, error: LabelcastError) -> None:
        """See `Telemetry`."""
        self._metrics.FAILURES.labels(error.reason).inc()

    def missed(self, reason: str, rows: int) -> None:
        """See `Telemetry`."""
        self._metrics.MISSED.labels(reason).inc(rows)

    def chose(self, *, whole_shards: bool) -> None:
        """See `Telemetry`."""
        self._metrics.CODE_CHOICES.labels("whole_shards" if whole_shards else "rows").inc()

    def gathered(self, count: int) -> None:
        """See `Telemetry`."""
        self._metrics.CACHED_LABELS.inc(count)
