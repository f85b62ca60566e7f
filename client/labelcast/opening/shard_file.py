"""One shard of packed rows in a file, as a directory and a cache keep it."""

import mmap
import os
import weakref

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Rows
from labelcast.label_set.section import Section, Shard, chunk_checksum


class ShardFile:
    """The file of a shard, as one process sees it.

    Rules:
      * chunks are compared with their checksums through pread, which gives an error where a mapping
        would end the process by SIGBUS: on a file that was cut, or a disk that cannot read a block;
      * rows are taken from a mapping, which processes share and which costs no call a row; and only
        if size and time of the last write are those of the opening, before and after. What was cut
        or written to is neither read nor delivered;
      * a file that has lost its name stays what it was until this object goes.

    Args:
        descriptor: of the file; closed with this object.
        section: of which the shard is a part.
        shard: whose file it is, of its size.
        checksums: CRC-32 of every chunk: uint32, verified.

    Attributes:
        descriptor: see above.

    Raises:
        OSError: the file cannot be mapped.
    """

    def __init__(
        self, descriptor: int, section: Section, shard: Shard, checksums: NDArray[np.uint32]
    ) -> None:
        weakref.finalize(self, os.close, descriptor)
        self.descriptor = descriptor
        self._opened = self._stamp()
        self._stride, self._rows_per_chunk = section.stride, section.rows_per_chunk
        self._checksums = checksums
        self._right = np.zeros(len(checksums), dtype=np.bool_)
        self._all_right = False
        mapped = mmap.mmap(descriptor, shard.data.size, prot=mmap.PROT_READ)
        self._rows = np.frombuffer(mapped, dtype=np.uint8).reshape(-1, section.stride)

    def damaged_chunk(self, rows: NDArray[np.int64], *, again: bool = False) -> int | None:
        """Compare the chunks of rows with their checksums.

        Args:
            rows: int64, shape (N,), each a row of this shard.
            again: whether chunks that this process has found right are compared too.

        Returns:
            Number of a wrong chunk; None if all are right.

        Raises:
            OSError: the disk cannot read them.
        """
        if self._all_right and not again:
            return None
        numbers = np.unique(rows // self._rows_per_chunk)
        for number in (numbers if again else numbers[~self._right[numbers]]).tolist():
            size = self._rows_per_chunk * self._stride
            chunk = os.pread(self.descriptor, size, number * size)
            self._right[number] = chunk_checksum(chunk) == int(self._checksums[number])
            if not self._right[number]:
                self._all_right = False
                return int(number)
        self._all_right = bool(self._right.all())
        return None

    def take(self, rows: NDArray[np.int64]) -> Rows | None:
        """Rows of chunks that are right.

        Args:
            rows: int64, shape (N,), each a row of this shard.

        Returns:
            uint8, shape (N, stride), newly allocated; None if the file was cut or written to since
            it was opened, so that nothing of it may be trusted.
        """
        if self._stamp() != self._opened:
            return None
        packed = self._rows.take(rows, axis=0)
        return packed if self._stamp() == self._opened else None

    def _stamp(self) -> tuple[int, int]:
        found = os.fstat(self.descriptor)
        return found.st_size, found.st_mtime_ns
