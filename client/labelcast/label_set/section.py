"""Sections: columns of fixed-stride rows, cut into shards, cut into chunks.

section ── shard (a blob: 8–64 MiB, one digest) ── chunk (≤ 64 KiB, one CRC-32 in the shard's
chunk index, itself a blob)
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.checksums import crc32
from labelcast.errors import ChecksumMismatchError, ManifestError
from labelcast.identifiers import Digest
from labelcast.label_set.chunking import CHUNK_BYTES, rows_per_chunk
from labelcast.label_set.fields import Fields

MAX_ROWS = 2**48
MAX_STRIDE = 2**23
SHARD_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob, identified by its content.

    Attributes:
        digest: sha256 of the content.
        size: size in bytes.
    """

    digest: Digest
    size: int

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_fields` reads back."""
        return {"digest": self.digest, "size": self.size}

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read strictly."""
        ref = cls(fields.digest("digest"), fields.integer("size", 1, 2**40))
        fields.done()
        return ref


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive rows of a section.

    Attributes:
        rows: number of rows.
        data: blob with the packed rows.
        index: blob with the chunk index: one little-endian uint32 CRC-32 per chunk.
    """

    rows: int
    data: BlobRef
    index: BlobRef

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_fields` reads back."""
        return {"rows": self.rows, "data": self.data.as_json(), "index": self.index.as_json()}

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read strictly."""
        shard = cls(
            fields.integer("rows", 1, MAX_ROWS),
            BlobRef.from_fields(fields.object("data")),
            BlobRef.from_fields(fields.object("index")),
        )
        fields.done()
        return shard


@dataclass(frozen=True, slots=True)
class Section:
    """A column of packed rows.

    Attributes:
        stride: bytes per row.
        rows: number of rows, N.
        rows_per_chunk: rows of every chunk but the last of a shard.
        shards: shards in row order; each but the last holds a whole number of chunks.
    """

    stride: int
    rows: int
    rows_per_chunk: int
    shards: tuple[Shard, ...]

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a full chunk."""
        return self.rows_per_chunk * self.stride

    @property
    def payload_bytes(self) -> int:
        """Bytes of all rows."""
        return self.rows * self.stride

    def blobs(self) -> list[BlobRef]:
        """Every blob of the section."""
        return [ref for shard in self.shards for ref in (shard.data, shard.index)]

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_fields` reads back."""
        return {
            "stride": self.stride,
            "rows": self.rows,
            "rows_per_chunk": self.rows_per_chunk,
            "shards": [shard.as_json() for shard in self.shards],
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read strictly: sizes must follow from rows and stride, so nothing can inflate."""
        section = cls(
            stride=fields.integer("stride", 1, MAX_STRIDE),
            rows=fields.integer("rows", 1, MAX_ROWS),
            rows_per_chunk=fields.integer("rows_per_chunk", 1, MAX_ROWS),
            shards=tuple(Shard.from_fields(entry) for entry in fields.objects("shards")),
        )
        fields.done()
        section._check(fields.path)
        return section

    def _check(self, path: str) -> None:
        if self.chunk_bytes > CHUNK_BYTES and self.rows_per_chunk > 1:
            raise ManifestError(
                f"{path}: chunks of {self.chunk_bytes} bytes are too large; use at most"
                f" {rows_per_chunk(self.stride)} rows a chunk"
            )
        if sum(shard.rows for shard in self.shards) != self.rows:
            raise ManifestError(f"{path}: the shards do not add up to {self.rows} rows")
        for shard in self.shards:
            chunks = -(-shard.rows // self.rows_per_chunk)
            if shard.data.size != shard.rows * self.stride or shard.index.size != 4 * chunks:
                raise ManifestError(f"{path}: a shard's size contradicts its {shard.rows} rows")
        if any(shard.rows % self.rows_per_chunk for shard in self.shards[:-1]):
            raise ManifestError(f"{path}: only the last shard may end within a chunk")


def chunk_checksum(chunk: bytes | memoryview) -> int:
    """CRC-32 of one chunk."""
    return crc32(chunk)


def check_chunk(chunk: bytes, index: NDArray[np.uint32], number: int, shard: Digest) -> None:
    """Refuse a chunk that is damaged in the store.

    Args:
        chunk: its bytes.
        index: CRC-32 of every chunk of the shard.
        number: of the chunk.
        shard: that it belongs to.

    Raises:
        ChecksumMismatchError: its CRC-32 is not the one in the shard's index.
    """
    if chunk_checksum(chunk) != int(index[number]):
        raise ChecksumMismatchError(
            f"chunk {number} of shard {shard} is damaged where it is stored;"
            " push the label set again",
            digest=shard,
            chunk=number,
        )
