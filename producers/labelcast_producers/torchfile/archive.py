"""The zip container: a directory of stored entries, each of which is read on request.

`zipfile` reads only the directory. Entries are read here, straight into the array that is returned.
What shapes the result (directory, pickle) is always checked against its checksum; the values of
tensors only on request, since that takes longer than reading them: 0.5 ms instead of 0.1 ms for 2
MB in memory. Torch never checks them.
"""

import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labelcast_producers.torchfile.limits import FileErrors, Limits, printable
from labelcast_producers.torchfile.packed import how_packed

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ZIP_MAGIC = b"PK\x03\x04"
# The first pickle of the format before torch 1.6 is this number.
_LEGACY_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_TAR_MAGIC_AT = 257
# Sizes in a trailing descriptor, UTF-8 names: what torch sets. Among the others is encryption.
_HARMLESS_FLAGS = 0x0808
_MEAN_DIRECTORY_ENTRY_BYTES = 256


@dataclass(frozen=True, slots=True)
class _Entry:
    header_offset: int
    num_bytes: int
    crc: int


class _DirectoryFile(FileIO):
    """A file of which `zipfile` may read no more at once than an honest directory takes."""

    max_read_bytes: int = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.max_read_bytes:
            raise zipfile.BadZipFile("the directory is too large")
        return super().read(size)


class Archive:
    """An open `torch.save` file; a context manager.

    Args:
        path: path of the file.
        limits: limits on what it may cost to open.
        verify: whether to check what `read_values` reads.

    Raises:
        LabelFileError: it is unreadable, not a zip file that torch wrote, or damaged.
    """

    def __init__(self, path: Path, limits: Limits, *, verify: bool) -> None:
        self._verify = verify
        self.errors = FileErrors(path)
        try:
            status = path.stat()
            # Opening a named pipe would wait forever.
            if not stat.S_ISREG(status.st_mode):
                raise self.errors.foreign("is no file")
            self._file = _DirectoryFile(path)
        except OSError as error:
            raise self.errors.unreadable(error) from None
        self.num_bytes = status.st_size
        try:
            self._check_magic()
            self._entries, self._prefix = self._read_directory(limits)
            self._check_byte_order()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what has been read stays valid."""
        self._file.close()

    def size_of(self, name: str) -> int | None:
        """Size of an entry in bytes; None if there is none.

        Args:
            name: as torch names its records: `data.pkl`, `data/0`.
        """
        entry = self._entries.get(self._prefix + name)
        return None if entry is None else entry.num_bytes

    def read_record(self, name: str) -> bytes:
        """Read a whole small entry and check it.

        Args:
            name: see `size_of`.

        Raises:
            LabelFileError: it is missing, cut off, or does not match its checksum.
        """
        return self._read(name, verify=True).tobytes()

    def read_values(self, name: str) -> NDArray[np.uint8]:
        """Read a whole entry; checked if the archive was opened to verify.

        Args:
            name: see `size_of`.

        Returns:
            uint8, shape (bytes,), newly allocated, read-only.

        Raises:
            LabelFileError: see `read_record`.
        """
        content = self._read(name, verify=self._verify)
        content.setflags(write=False)
        return content

    def _read(self, name: str, *, verify: bool) -> NDArray[np.uint8]:
        entry = self._entries.get(self._prefix + name)
        if entry is None:
            raise self.errors.damaged(f"it has no {name}")
        content = np.empty(entry.num_bytes, np.uint8)
        try:
            self._seek_content(entry, name)
            self._fill(content.data, name)
        except OSError as error:
            raise self.errors.unreadable(error) from None
        if verify and zlib.crc32(content.data) != entry.crc:
            raise self.errors.damaged(
                f"the checksum of {name} is wrong (or it was saved with compute_crc32 off)"
            )
        return content

    def _seek_content(self, entry: _Entry, name: str) -> None:
        self._file.seek(entry.header_offset)
        header = self._file.read(_LOCAL_HEADER.size)
        if len(header) != _LOCAL_HEADER.size:
            raise self.errors.damaged(f"it ends before {name}")
        magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        if magic != _ZIP_MAGIC:
            raise self.errors.damaged(f"{name} is not where its directory says")
        self._file.seek(name_bytes + extra_bytes, 1)

    def _fill(self, content: memoryview, name: str) -> None:
        # One call reads at most 2 GiB.
        while content:
            count = self._file.readinto(content)
            if not count:
                raise self.errors.damaged(f"it ends within {name}")
            content = content[count:]

    def _check_magic(self) -> None:
        self._file.max_read_bytes = 512
        try:
            head = self._file.read(512)
        except OSError as error:
            raise self.errors.unreadable(error) from None
        if head.startswith(_ZIP_MAGIC):
            return
        if _LEGACY_MAGIC in head[:32] or (
            head[_TAR_MAGIC_AT:].startswith(b"ustar") and b"storages" in head
        ):
            raise self.errors.foreign(
                "is in the format that torch wrote before 1.6; where you trust it, load it and"
                " save it again with a current torch"
            )
        raise self.errors.foreign(
            how_packed(head)
            or "is no torch.save file: it does not begin as a zip file; fetch or write it again"
        )

    def _read_directory(self, limits: Limits) -> tuple[dict[str, _Entry], str]:
        self._file.max_read_bytes = limits.max_entries * _MEAN_DIRECTORY_ENTRY_BYTES
        try:
            # It closes only files that it opened itself.
            with zipfile.ZipFile(self._file) as directory:
                found = directory.infolist()
        except OSError as error:
            raise self.errors.unreadable(error) from None
        except (
            zipfile.BadZipFile,
            struct.error,
            ValueError,
            OverflowError,
            NotImplementedError,
        ) as error:
            raise self.errors.damaged(
                f"its zip directory is unusable ({printable(str(error))})"
            ) from None
        if len(found) > limits.max_entries:
            raise self.errors.excessive(f"has {len(found)} entries")
        for info in found:
            self._check_entry(info)
        entries = {
            info.filename: _Entry(info.header_offset, info.file_size, info.CRC) for info in found
        }
        if len(entries) != len(found):
            raise self.errors.damaged("two of its entries have the same name")
        # Entries that overlap would make a small file stand for a large one.
        if sum(entry.num_bytes for entry in entries.values()) > self.num_bytes:
            raise self.errors.damaged("its entries are together larger than itself")
        return entries, self._find_prefix(entries)

    def _check_entry(self, info: zipfile.ZipInfo) -> None:
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ~_HARMLESS_FLAGS:
            raise self.errors.foreign(
                "is no torch.save file: its entries are compressed or encrypted, which torch"
                " never does"
            )
        if info.compress_size != info.file_size:
            raise self.errors.damaged("an entry has two sizes")
        last = info.header_offset + _LOCAL_HEADER.size + info.file_size
        if not 0 <= info.header_offset <= last <= self.num_bytes:
            raise self.errors.damaged("an entry lies beyond its end")

    def _find_prefix(self, entries: dict[str, _Entry]) -> str:
        # Each record lies in one folder, named after the file when it was saved.
        prefixes = [
            name.removesuffix("data.pkl")
            for name in entries
            if name.endswith("/data.pkl") and name.count("/") == 1
        ]
        if len(prefixes) != 1:
            raise self.errors.foreign(
                f"is no torch.save file: it has {len(prefixes)} entries called data.pkl, not one"
            )
        return prefixes[0]

    def _check_byte_order(self) -> None:
        size = self.size_of("byteorder")
        # Files older than torch 2.1 do not say; they were written on little-endian machines.
        if size is None:
            return
        if size > len(b"little") or self.read_record("byteorder") != b"little":
            raise self.errors.foreign(
                "was saved on a big-endian machine; save it again on a little-endian one"
            )
