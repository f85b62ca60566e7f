"""Calls that may hang: the suite looks for them, and must not hang itself."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class HungError(RuntimeError):
    """A call had neither result nor error within its time."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """Run a blocking call on a thread that is left behind if it takes too long.

    Raises:
        HungError: it did.
        Whatever the call raises.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise HungError(f"nothing came of a call in {seconds:g} s")
    return results[0]
