"""Tables of open label sets in files that all workers map, instead of a copy in each.

A worker makes the tables from verified blobs, in memory of its own. The bytes of each large array
then go to a file that is named by their digest, unless another worker has made it already, and the
tables are rebuilt over what is mapped. Rules:
  * a file is compared, byte for byte, with what this process has made before it takes the place of
    that, and damage is repaired in place: so it is for all who have mapped it;
  * later damage is found by `scrub_tables`, and a cut at the next use: the tables are then refused
    until the label set has been opened anew;
  * where there is no room for a file, the array stays in memory.
"""

import asyncio
import hashlib
import logging
import mmap
import os
import pickle
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from labelcast.errors import LabelcastError, ServiceUnavailableError, StoreFullError
from labelcast.identifiers import Digest, digest_from_hash
from labelcast_server.delivery.cache.directory import CacheDirectory, write
from labelcast_server.delivery.cache.scrubber import MOST_OF_A_CORE, ROUND_SECONDS

# Smaller ones do not repay a file.
_LARGE_BYTES = 2**16
_PIECE_BYTES = 2**20

T = TypeVar("T")

logger = logging.getLogger(__name__)


class TableFile:
    """The file of one array, as one process sees it.

    Args:
        descriptor: of the file; closed with this object.
        digest: of what the file holds.
        size: of the file in bytes.

    Attributes:
        data: what it holds, read-only, mapped.

    Raises:
        OSError: the file cannot be mapped.
    """

    def __init__(self, descriptor: int, digest: Digest, size: int) -> None:
        self._digest, self._size = digest, size
        self._damaged = False
        self.data = memoryview(mmap.mmap(descriptor, size, prot=mmap.PROT_READ))
        # Last: it is this object's to close only if all went well.
        self._descriptor = descriptor

    def __del__(self) -> None:
        # The mapping has its own descriptor and lives as long as its last array.
        if (descriptor := getattr(self, "_descriptor", None)) is not None:
            os.close(descriptor)

    def is_usable(self) -> bool:
        """Whether the file is whole, and was right when it was last checked."""
        return not self._damaged and os.lseek(self._descriptor, 0, os.SEEK_END) == self._size

    def check(self) -> bool:
        """Compare the file with its digest; from the first damage on it is not usable."""
        hasher = hashlib.sha256()
        try:
            for start in range(0, self._size, _PIECE_BYTES):
                hasher.update(os.pread(self._descriptor, _PIECE_BYTES, start))
        except OSError:
            self._damaged = True
        self._damaged = self._damaged or digest_from_hash(hasher.digest()) != self._digest
        return not self._damaged

    def repair(self, content: memoryview) -> int:
        """Make the file hold what it must.

        Args:
            content: that.

        Returns:
            How many pieces were wrong.

        Raises:
            OSError: it cannot be read or written.
        """
        wrong = 0
        for start in range(0, self._size, _PIECE_BYTES):
            piece = content[start : start + _PIECE_BYTES]
            if os.pread(self._descriptor, _PIECE_BYTES, start) != piece:
                wrong += 1
                write(self._descriptor, piece, start)
        return wrong

    def mark(self) -> None:
        """Tell all processes that the file is in use."""
        os.utime(self._descriptor)


@dataclass(frozen=True, slots=True)
class Mapped(Generic[T]):
    """Tables over mapped files.

    Attributes:
        tables: for `get`.
        files: that they lie in.
    """

    tables: T
    files: tuple[TableFile, ...]

    def get(self) -> T:
        """The tables; costs less than a microsecond a file.

        Raises:
            ServiceUnavailableError: a file was damaged.
        """
        if not self.are_usable():
            raise ServiceUnavailableError(
                "tables of the label set were damaged on the service's disk; retry in a moment"
            )
        return self.tables

    def are_usable(self) -> bool:
        """Whether no file was damaged, as far as is known."""
        return all(file.is_usable() for file in self.files)


class SharedTables:
    """Puts tables into files.

    Args:
        directory: of the cache.
    """

    def __init__(self, directory: CacheDirectory) -> None:
        self._directory = directory
        self._files = weakref.WeakSet[TableFile]()

    @property
    def files(self) -> list[TableFile]:
        """Files whose tables are in use."""
        return list(self._files)

    def share(self, tables: T) -> Mapped[T]:
        """Rebuild tables over mapped files; takes a second for some hundred megabytes.

        Args:
            tables: any objects with numpy arrays, which must not be changed any more.
        """
        large: list[pickle.PickleBuffer] = []

        def stays(buffer: pickle.PickleBuffer) -> bool:
            if buffer.raw().nbytes < _LARGE_BYTES:
                return True
            large.append(buffer)
            return False

        pickled = pickle.dumps(tables, protocol=5, buffer_callback=stays)
        files = [self._file_of(buffer.raw()) for buffer in large]
        data = [
            buffer if file is None else file.data for buffer, file in zip(large, files, strict=True)
        ]
        rebuilt = pickle.loads(pickled, buffers=data)  # noqa: S301 - of this very call
        return Mapped(rebuilt, tuple(file for file in files if file is not None))

    def look(self) -> None:
        """Mark the files: tables of an open label set are in use, since removing frees nothing."""
        for file in self.files:
            file.mark()

    def _file_of(self, content: memoryview) -> TableFile | None:
        digest = digest_from_hash(hashlib.sha256(content).digest())
        name = digest.replace(":", "-") + ".table"
        size = content.nbytes
        try:
            file = self._directory.open(
                name, size, lambda descriptor: TableFile(descriptor, digest, size), (content, 0)
            )
            if file is None or not (wrong := file.repair(content)):
                pass
            elif file.check():
                logger.warning("repaired %d MiB of the table %s in its cache file", wrong, digest)
                self._directory.counts.saw("repaired_tables")
            else:
                return None
        except (StoreFullError, OSError) as error:
            logger.error("%s; a table stays in memory", error)  # noqa: TRY400
            return None
        if file is not None:
            self._files.add(file)
        return file


async def scrub_tables(
    tables: SharedTables,
    renew: Callable[[], Awaitable[None]],
    *,
    round_seconds: float = ROUND_SECONDS,
    most_of_a_core: float = MOST_OF_A_CORE,
) -> None:
    """Compare tables in use with their digests, until cancelled; see `cache.scrubber`.

    Args:
        tables: to be compared.
        renew: opens label sets anew whose tables are damaged.
        round_seconds: time for all of them, if the share of a core allows it.
        most_of_a_core: fraction of a core that checks may take.
    """
    while True:
        for file in tables.files:
            right, seconds = await asyncio.to_thread(_timed_check, file)
            if not right:
                try:
                    await renew()
                except LabelcastError as error:
                    # They are refused until somebody asks for the label set again.
                    logger.error("damaged tables were not replaced yet: %s", error)  # noqa: TRY400
            await asyncio.sleep(seconds / most_of_a_core)
        await asyncio.sleep(round_seconds)


def _timed_check(file: TableFile) -> tuple[bool, float]:
    started = time.thread_time()
    return file.check(), time.thread_time() - started
