"""What the processes of a service hold in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_STORES = ("valkey-server", "redis-server")
_LOOKS_A_SECOND = 4


@dataclass(frozen=True)
class Held:
    """Bytes, each shared page counted once.

    Attributes:
        private: of all processes but the store: what no file backs, and shared memory.
        mapped: pages of files, which the kernel may drop.
        store: what no file backs, of the store.
    """

    private: int
    mapped: int
    store: int

    @classmethod
    def by(cls, first: int) -> "Held":
        """By a process and all that it started."""
        process = psutil.Process(first)
        private = mapped = store = 0
        for one in [process, *process.children(recursive=True)]:
            try:
                pages, is_store = _pages(one.pid), one.name() in _STORES
            except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                continue
            mapped += pages["Pss_File"]
            unbacked = pages["Pss_Anon"] + pages["Pss_Shmem"]
            private, store = (
                (private, store + unbacked) if is_store else (private + unbacked, store)
            )
        return cls(private, mapped, store)


@dataclass
class Peak:
    """The most that was held at any look."""

    looks: list[Held] = field(default_factory=list)

    @property
    def held(self) -> Held:
        """The look with most private memory."""
        return max(self.looks, key=lambda held: held.private)


@contextmanager
def watched(first: int) -> Iterator[Peak]:
    """Look at a service's memory over and over for as long as the block lasts."""
    peak, stop = Peak([Held.by(first)]), threading.Event()

    def look() -> None:
        while not stop.wait(1 / _LOOKS_A_SECOND):
            peak.looks.append(Held.by(first))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _pages(pid: int) -> dict[str, int]:
    """Bytes by kind, from Linux's sums over a process's mappings."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return {name.removesuffix(":"): int(kibibytes) * 1024 for name, kibibytes, _ in fields}
