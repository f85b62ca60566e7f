"""The metrics of all clients in this process; imported only where they are wanted."""

from prometheus_client import Counter

LABELS = Counter("labelcast_client_labels", "Labels delivered to the caller.", ["form"])
BYTES = Counter(
    "labelcast_client_label_bytes", "Bytes of these labels as they came.", ["form"], unit="bytes"
)
STALL_SECONDS = Counter(
    "labelcast_client_stall_seconds",
    "Time in which readers of streams waited for labels.",
    unit="seconds",
)
FAILURES = Counter(
    "labelcast_client_failures",
    "Calls and streams that failed, also those that were repeated.",
    ["reason"],
)
MISSED = Counter(
    "labelcast_client_missed_labels",
    "Labels that a loop went on without, as its reader was told to.",
    ["reason"],
)
CODE_CHOICES = Counter(
    "labelcast_client_code_choices",
    "How codes of a label set come, counted when it is chosen: asked by rows, or whole shards.",
    ["fetched"],
)
CACHED_LABELS = Counter(
    "labelcast_client_cached_labels", "Labels whose codes came from this machine's cache."
)
