"""One shard of packed rows in a file that all workers of this machine share.

    [ rows of the shard ][ one byte a chunk: 1 = written ]

Rules:
  * rows are written with pwrite and read through a mapping that is read-only, so that no stray
    write of this process can change them;
  * a flag says that a chunk was written by somebody, not that it is right: whether it is right
    each process finds out for itself, by the chunk's CRC-32, and keeps to itself in `verified`;
  * checks read with pread, which gives an error where a mapping would end the process by SIGBUS:
    on a file that was cut, or a disk that cannot read a block;
  * a file is reserved in full when it is made, since a full disk must be an error there and then;
  * rows are taken in any thread, while others check and restore: what stops being verified while
    it is read is not delivered.
"""

import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.checksums import crc32
from labelcast.errors import StoreFullError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class ShardFile:
    """The file of one shard, as one process sees it.

    Args:
        path: path of the file, created if missing; all workers share its directory.
        size: size of the shard in bytes.
        chunk_bytes: size of every chunk but the last.
        checksums: CRC-32 of every chunk, uint32.

    Attributes:
        data: uint8, shape (size,), read-only, mapped.
        verified: bool, shape (chunks,): chunks that this process has found to be right.

    Raises:
        StoreFullError: the disk has no room for it.
        OSError: the directory cannot be used.
    """

    def __init__(
        self, path: Path, size: int, chunk_bytes: int, checksums: NDArray[np.uint32]
    ) -> None:
        self._directory = path.parent
        self._size, self._chunk_bytes, self._checksums = size, chunk_bytes, checksums
        self._whole_size = size + len(checksums)
        self.verified = np.zeros(len(checksums), dtype=np.bool_)
        self._revocations = 0
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.restore_size()
        mapped = mmap.mmap(self._descriptor, size, prot=mmap.PROT_READ)
        self.data: NDArray[np.uint8] = np.frombuffer(mapped, dtype=np.uint8)

    def __del__(self) -> None:
        # The mapping has its own descriptor and lives as long as its last array.
        if (descriptor := getattr(self, "_descriptor", None)) is not None:
            os.close(descriptor)

    def is_whole(self) -> bool:
        """Whether the file still has its size; a read beyond its end would end the process."""
        # Half the price of fstat, and asked before every gather.
        return os.lseek(self._descriptor, 0, os.SEEK_END) >= self._whole_size

    def restore_size(self) -> None:
        """Reserve the whole file again; afterwards no chunk counts as verified.

        Raises:
            StoreFullError: the disk has no room for it.
        """
        self.verified[:] = False
        self._revocations += 1
        with self._room_needed():
            os.posix_fallocate(self._descriptor, 0, self._whole_size)

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
        revocations = self._revocations
        if not self.is_whole() or not self.verified[rows // (self._chunk_bytes // stride)].all():
            return None
        packed = self.data.reshape(-1, stride).take(rows, axis=0)
        # A count, since a chunk may be taken back, written and verified again in the meantime.
        return packed if self._revocations == revocations else None

    def written(self, numbers: Sequence[int]) -> list[int]:
        """Those of `numbers` that some worker has flagged as written."""
        flags = os.pread(self._descriptor, len(self._checksums), self._size)
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

        Takes milliseconds for a few dozen chunks: run it in a thread.

        Raises:
            StoreFullError: the disk has no room, though it was reserved.
        """
        with self._room_needed():
            for number, chunk in chunks:
                self._write(chunk, number * self._chunk_bytes)
                self.verified[number] = self._is_right(number)
                # After the bytes: a process that sees the flag must find them.
                self._write(b"\1", self._size + number)

    def chunk_size(self, number: int) -> int:
        """Size of chunk `number` in bytes."""
        return min(self._chunk_bytes, self._size - number * self._chunk_bytes)

    def _is_right(self, number: int) -> bool:
        length = self.chunk_size(number)
        try:
            content = os.pread(self._descriptor, length, number * self._chunk_bytes)
        except OSError:
            return False
        return len(content) == length and crc32(content) == int(self._checksums[number])

    def _write(self, content: bytes, offset: int) -> None:
        view = memoryview(content)
        while view:
            count = os.pwrite(self._descriptor, view, offset)
            view, offset = view[count:], offset + count

    @contextmanager
    def _room_needed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise no_room(self._whole_size, self._directory) from None


def no_room(size: int, directory: Path) -> StoreFullError:
    """The error when the disk cannot take a file of the cache."""
    return StoreFullError(
        f"no room for {size} bytes of chunk cache in {directory}; free some or set"
        " LABELCAST_CACHE_DIR to a larger disk"
    )
