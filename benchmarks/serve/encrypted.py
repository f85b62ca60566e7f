"""What encryption costs the codes path."""

from pathlib import Path
from typing import Any

from benchmarks.comparison import Measure
from benchmarks.serve.measures import Published, published
from benchmarks.serve.reading import CODES
from labelcast_glyphs.local_service import local_service


def measure(
    directory: Path, plain: Published, *, count: int, repetitions: int
) -> list[dict[str, Any]]:
    """The same label set from a service that speaks TLS, beside one that does not.

    Args:
        directory: for the service that speaks TLS.
        plain: label set of the one that does not.
        count: labels of a run.
        repetitions: of each run.
    """
    views = plain.shuffled(count)
    with local_service(directory, encrypted=True) as service, service.client() as client:
        over_tls = published(service, client, "bench:encrypted", plain.generated)
        return [
            Measure(
                name="codes 8 B of listed views with TLS, beside without",
                unit="labels/s",
                reach=0.6,
                aim=0.8,
            ).compare(
                lambda: over_tls.labels_per_second(views, CODES),
                lambda: plain.labels_per_second(views, CODES),
                repetitions,
            )
        ]
