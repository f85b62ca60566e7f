"""The metrics of a service, counted where the work is done.

Every process writes its own into files of the run (prometheus-client's multiprocess mode), and the
admin API sums them up. Histograms of seconds and rows have few buckets: an observation costs about
a microsecond for each of its numbers, and a unit of labels takes milliseconds.
"""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_ROWS = tuple(4.0**power for power in range(11))

LABELS = Counter("labelcast_labels", "Labels handed to gRPC.", ["form"])
BYTES = Counter("labelcast_label_bytes", "Bytes of these labels.", ["form"], unit="bytes")
UNIT_ROWS = Histogram(
    "labelcast_unit_rows", "Rows that are gathered and decoded together.", ["form"], buckets=_ROWS
)
GATHER_SECONDS = Histogram(
    "labelcast_gather_seconds", "Finding and reading the rows of a unit.", buckets=_SECONDS
)
DECODE_SECONDS = Histogram(
    "labelcast_decode_seconds",
    "Decoding a unit, with its time in the queue and on its way.",
    buckets=_SECONDS,
)
QUEUED_UNITS = Gauge(
    "labelcast_queued_units", "Units that wait for a decoder.", multiprocess_mode="livesum"
)
TURN_ROWS = Histogram(
    "labelcast_turn_rows",
    "Rows, of one unit or several, that a device decodes at once.",
    buckets=_ROWS,
)
STALL_SECONDS = Counter(
    "labelcast_stream_stall_seconds", "Time in which a stream had asked and no unit was ready."
)
OPEN_STREAMS = Gauge(
    "labelcast_open_streams", "Label streams that are open.", multiprocess_mode="livesum"
)
CALLS = Counter(
    "labelcast_calls",
    "gRPC calls that ended: with ok, with the reason of an error, or cancelled by the client.",
    ["method", "outcome"],
)
CACHE_EVENTS = Counter(
    "labelcast_cache_events",
    "What the cache of codes saw, in chunks (…_files: in files).",
    ["event"],
)
