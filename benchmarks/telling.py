"""What benchmarks of many units say on the way."""

import sys
from collections.abc import Callable
from typing import Any

from benchmarks.codec.queue import Finished


def say(text: str) -> None:
    """Print a line for people: standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def tell(finished: Finished, describe: Callable[[dict[str, Any]], str]) -> None:
    """Say what a unit came to and how long the others will take.

    Args:
        finished: the unit.
        describe: says what a result holds; not called where there is none.
    """
    unit, result = finished.unit, finished.result
    if result is None:
        said = f"FAILED, {type(finished.error).__name__}: {finished.error}"
    else:
        said = describe(result)
    say(
        f"[{finished.position}/{finished.total}] {unit.point} {unit.name}: {said} in"
        f" {finished.seconds:.0f} s; about {finished.seconds_left / 60:.0f} min left"
    )
