"""What the cache of one process has seen."""

from dataclasses import dataclass

from labelcast_server.telemetry.metrics import CACHE_EVENTS


@dataclass(slots=True)
class CacheCounts:
    """What one process's cache has seen since it started.

    Attributes:
        loaded: chunks read from the store and written to a file.
        verified: chunks compared at their first use, those of other workers and earlier runs.
        damaged: of these, how many were wrong in their file.
        direct: chunks served from the store because there was no room for a file.
        scrubbed: chunks compared again by the scrubber.
        scrubbed_damaged: of these, how many were wrong.
        repaired: damaged chunks that were replaced from the store.
        found_files: files that were there before: of another worker, or an earlier run.
        dropped_files: files that were cut, or are not what their names say.
        evicted_files: files that went to make room for others.
        repaired_tables: tables that were wrong in their file.
    """

    loaded: int = 0
    verified: int = 0
    damaged: int = 0
    direct: int = 0
    scrubbed: int = 0
    scrubbed_damaged: int = 0
    repaired: int = 0
    found_files: int = 0
    dropped_files: int = 0
    evicted_files: int = 0
    repaired_tables: int = 0

    def saw(self, event: str, count: int = 1) -> None:
        """Count an event, which is one of the attributes, here and for Prometheus."""
        setattr(self, event, getattr(self, event) + count)
        CACHE_EVENTS.labels(event).inc(count)
