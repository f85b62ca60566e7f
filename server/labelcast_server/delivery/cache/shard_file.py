"""One shard of packed rows in a file that all workers of this machine share.

    [ rows of the shard ][ its chunk index ][ one byte a chunk: 1 = written ]

Rules:
  * the chunk index is compared with its digest in the manifest before anything else is read: what
    is half made, of another layout or of another shard is told by it;
  * rows are written with pwrite and read through a mapping that is read-only, so that no stray
    write of this process can change them;
  * a flag says that a chunk was written by somebody, not that it is right: whether it is right
    each process finds out for itself, by the chunk's CRC-32, and keeps to itself in `verified`;
  * checks read with pread, which gives an error where a mapping would end the process by SIGBUS:
    on a file that was cut, or a disk that cannot read a block;
  * rows are taken in any thread, while others check: what stops being verified while it is read is
    not delivered.
"""

import mmap
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labelcast.checksums import crc32
from labelcast.label_set import Section, Shard, digest_of
from labelcast_server.delivery.cache.directory import CacheDirectory, room_needed, write

_CHECKSUM_BYTES = 4


class ShardFile:
    """The file of one shard, as one process sees it.

    Args:
        descriptor: of the file; closed with this object.
        section: of which the shard is a part.
        shard: whose file it is.
        checksums: CRC-32 of every chunk, uint32.
        directory: where the file lies; for errors.

    Attributes:
        data: uint8, shape (size,), read-only, mapped.
        checksums: see above.
        verified: bool, shape (chunks,): chunks that this process has found to be right.
        used: whether rows were taken since it was last marked.

    Raises:
        OSError: the file cannot be mapped.
    """

    def __init__(
        self,
        descriptor: int,
        section: Section,
        shard: Shard,
        checksums: NDArray[np.uint32],
        directory: Path,
    ) -> None:
        self._directory = directory
        self._size, self._chunk_bytes = shard.data.size, section.chunk_bytes
        self.checksums = checksums
        self._flags_at = self._size + shard.index.size
        self._whole_size = _whole_size(shard)
        self.verified = np.zeros(len(checksums), dtype=np.bool_)
        self.used = False
        self._revocations = 0
        mapped = mmap.mmap(descriptor, self._size, prot=mmap.PROT_READ)
        self.data: NDArray[np.uint8] = np.frombuffer(mapped, dtype=np.uint8)
        # Last: it is this object's to close only if all went well.
        self._descriptor = descriptor

    @classmethod
    def open(
        cls,
        directory: CacheDirectory,
        section: Section,
        shard: Shard,
        checksums: NDArray[np.uint32] | None = None,
    ) -> Self | None:
        """Find the file of a shard, or make it.

        Args:
            directory: of the cache.
            section: of which the shard is a part.
            shard: as the manifest describes it.
            checksums: CRC-32 of every chunk, for a file to be made; None makes none.

        Returns:
            The file; None if it was to be found, and there is none.

        Raises:
            StoreFullError: the disk has no room for it.
            OSError: the directory cannot be used.
        """
        opened = partial(cls._opened, section=section, shard=shard, directory=directory.path)
        new = None if checksums is None else (checksums.tobytes(), shard.data.size)
        return directory.open(file_name(shard), _whole_size(shard), opened, new)

    @classmethod
    def _opened(
        cls, descriptor: int, section: Section, shard: Shard, directory: Path
    ) -> Self | None:
        """The file behind a descriptor; None if its chunk index is not the shard's."""
        index = os.pread(descriptor, shard.index.size, shard.data.size)
        if digest_of(index) != shard.index.digest:
            return None
        return cls(descriptor, section, shard, np.frombuffer(index, dtype="<u4"), directory)

    def __del__(self) -> None:
        # The mapping has its own descriptor and lives as long as its last array.
        if (descriptor := getattr(self, "_descriptor", None)) is not None:
            os.close(descriptor)

    def is_whole(self) -> bool:
        """Whether the file still has its size; a read beyond its end would end the process."""
        # Half the price of fstat, and asked before every gather.
        return os.lseek(self._descriptor, 0, os.SEEK_END) >= self._whole_size

    def is_removed(self) -> bool:
        """Whether the file has lost its name; it takes room until the last process lets go."""
        return os.fstat(self._descriptor).st_nlink == 0

    def mark(self) -> None:
        """Tell all processes that the file is in use, if it was since the last mark."""
        if self.used:
            self.used = False
            os.utime(self._descriptor)

    def take(self, stride: int, rows: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """Rows out of verified chunks.

        Takes milliseconds for tens of thousands of rows: run it in a thread.

        Args:
            stride: bytes a row.
            rows: int64, shape (N,), each a row of this shard.

        Returns:
            uint8, shape (N, stride), newly allocated; None if a chunk of them is not verified, or
            any chunk of the file was taken back while they were read.
        """
        self.used = True
        revocations = self._revocations
        if not self.is_whole() or not self._are_verified(rows, self._chunk_bytes // stride):
            return None
        packed = self.data.reshape(-1, stride).take(rows, axis=0)
        # A count, since a chunk may be taken back, written and verified again in the meantime.
        return packed if self._revocations == revocations else None

    def _are_verified(self, rows: NDArray[np.int64], rows_per_chunk: int) -> bool:
        # A shard has a few hundred chunks, which are soon all verified, and a unit far more rows.
        return bool(self.verified.all() or self.verified[rows // rows_per_chunk].all())

    def written(self, numbers: Sequence[int]) -> list[int]:
        """Those of `numbers` that some worker has flagged as written."""
        flags = os.pread(self._descriptor, len(self.checksums), self._flags_at)
        return [number for number in numbers if flags[number : number + 1] == b"\1"]

    def unverified(self, numbers: NDArray[np.int64]) -> list[int]:
        """Those of `numbers` that this process has not found to be right, each once, in order."""
        lacking: list[int] = np.unique(numbers[~self.verified[numbers]]).tolist()
        return lacking

    def check(self, numbers: Sequence[int]) -> list[int]:
        """Compare chunks with their checksums; correct ones become `verified`.

        Takes milliseconds for a few dozen chunks: run it in a thread.

        Returns:
            Numbers of the wrong chunks.
        """
        wrong = []
        for number in numbers:
            right = self._is_right(number)
            self.verified[number] = right
            if not right:
                self._revocations += 1
                wrong.append(number)
        return wrong

    def put(self, chunks: Sequence[tuple[int, bytes]]) -> None:
        """Write checked chunks and read them back; intact ones become `verified`.

        Takes milliseconds for a few dozen chunks: run it in a thread. A file that was cut is left
        as it is: what it lost must not come back as zeros to others who have mapped it.

        Raises:
            StoreFullError: the disk has no room, though it was reserved.
        """
        with room_needed(self._whole_size, self._directory):
            for number, chunk in chunks:
                if not self.is_whole():
                    return
                write(self._descriptor, chunk, number * self._chunk_bytes)
                self.verified[number] = self._is_right(number)
                # After the bytes: a process that sees the flag must find them.
                write(self._descriptor, b"\1", self._flags_at + number)

    def chunk_size(self, number: int) -> int:
        """Size of chunk `number` in bytes."""
        return min(self._chunk_bytes, self._size - number * self._chunk_bytes)

    def _is_right(self, number: int) -> bool:
        length = self.chunk_size(number)
        try:
            content = os.pread(self._descriptor, length, number * self._chunk_bytes)
        except OSError:
            return False
        return len(content) == length and crc32(content) == int(self.checksums[number])


def file_name(shard: Shard) -> str:
    """Name of a shard's file in the directory of the cache."""
    return shard.data.digest.replace(":", "-")


def _whole_size(shard: Shard) -> int:
    chunks = shard.index.size // _CHECKSUM_BYTES
    return shard.data.size + shard.index.size + chunks
