"""How many bytes of a label set's rows this machine has asked for, beyond what it has fetched."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from labelcast.remote.node_cache.locks import locked

_SHARED_AT_LEAST_BYTES = 2**16
_WIDTH = 8


class AskedBytes:
    """A count in a file; what it says decides about bytes alone, so nothing checks it.

    Workers of a data loader live for an epoch, and each asks for a part of it: alone, none would
    find that whole shards are fewer bytes. A count that cannot be shared is this process's own.

    Args:
        path: file, whose directory need not exist.
        share_bytes: bytes that may stay untold to others until `share`; at most 64 KiB.

    Attributes:
        total: bytes as far as this process knows.
    """

    def __init__(self, path: Path, share_bytes: int) -> None:
        self.total = 0
        self._path = path
        self._share_bytes = min(_SHARED_AT_LEAST_BYTES, share_bytes)
        self._untold = 0

    def add(self, count: int) -> None:
        """Count bytes."""
        self.total += count
        self._untold += count
        if self._untold >= self._share_bytes:
            self.share()

    def pay(self, count: int) -> None:
        """Count bytes of shards that were fetched: if others evict them, that is earned again."""
        self._untold -= count
        self.total = max(0, self.total - count)
        self.share()

    def share(self) -> None:
        """Tell others, and learn what they have counted."""
        with contextlib.suppress(OSError), self._file() as descriptor:
            told = int.from_bytes(os.pread(descriptor, _WIDTH, 0), "little")
            total = min(max(0, told + self._untold), 2 ** (8 * _WIDTH) - 1)
            os.pwrite(descriptor, total.to_bytes(_WIDTH, "little"), 0)
            self.total, self._untold = total, 0

    @contextlib.contextmanager
    def _file(self) -> Iterator[int]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._path) as descriptor:
            yield descriptor
