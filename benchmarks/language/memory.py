"""Memory of this process."""

import resource


def peak_rss_bytes() -> int:
    """The most that has been resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
