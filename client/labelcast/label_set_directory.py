"""A label set as a directory: `encode` writes it, `push` reads it and `pull` fetches it.

manifest.json            canonical JSON
blobs/sha256-<hex>       every blob that the manifest names, under its digest
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.codec import Rows
from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    DigestMismatchError,
    ManifestError,
)
from labelcast.files import file_digest, write_whole
from labelcast.identifiers import Digest
from labelcast.label_set.chunking import rows_per_chunk
from labelcast.label_set.digests import digest_of
from labelcast.label_set.index.base import SegmentIndex
from labelcast.label_set.index.draws import MissingViews
from labelcast.label_set.index.tables import index_of
from labelcast.label_set.manifest import MAX_MANIFEST_BYTES, Manifest
from labelcast.label_set.section import (
    SHARD_BYTES,
    BlobRef,
    Section,
    Shard,
    chunk_checksum,
)
from labelcast.label_set.segment import Segment
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.gathering import gather
from labelcast.opening.label_set import LabelSet
from labelcast.opening.numpy_forms import present
from labelcast.opening.shard_file import ShardFile
from labelcast.representation import Form, Representation, check_representation
from labelcast.views import Views, check_batch, check_batches, check_views

MANIFEST_NAME = "manifest.json"
_MAKE_AGAIN = "encode or pull the label set again"


class LabelSetDirectoryWriter:
    """Writes blobs first and the manifest last: a directory without a manifest is unfinished.

    Args:
        directory: directory to write, created if missing; existing blobs are kept.
        shard_bytes: size of the largest shard.
    """

    def __init__(self, directory: Path, *, shard_bytes: int = SHARD_BYTES) -> None:
        self.directory = directory
        self._shard_bytes = shard_bytes
        (directory / "blobs").mkdir(parents=True, exist_ok=True)

    def add_blob(self, content: bytes) -> BlobRef:
        """Write one blob."""
        ref = BlobRef(digest_of(content), len(content))
        write_whole(blob_path(self.directory, ref.digest), content)
        return ref

    def add_rows(self, stride: int, blocks: Iterable[Rows]) -> Section:
        """Write a section as its rows come, in memory for one shard.

        Args:
            stride: bytes per row.
            blocks: uint8, shape (n, stride) each.

        Raises:
            ManifestError: there are no rows.
        """
        per_chunk = rows_per_chunk(stride)
        shard_rows = max(self._shard_bytes // (per_chunk * stride), 1) * per_chunk
        shards, pending, rows = [], bytearray(), 0
        for block in blocks:
            # Memory without bytes cannot be cast.
            if len(block):
                pending += np.ascontiguousarray(block).data.cast("B")
            rows += len(block)
            while len(pending) >= shard_rows * stride:
                shards.append(self._add_shard(pending[: shard_rows * stride], stride, per_chunk))
                del pending[: shard_rows * stride]
        if pending:
            shards.append(self._add_shard(pending, stride, per_chunk))
        if not rows:
            raise ManifestError("a section needs at least one row")
        return Section(stride, rows, per_chunk, tuple(shards))

    def add_column(self, values: ArrayLike, dtype: str) -> Section:
        """Write one integer per row, such as sample IDs."""
        column = np.ascontiguousarray(values, dtype=dtype)
        rows = column.view(np.uint8).reshape(len(column), column.dtype.itemsize)
        return self.add_rows(column.dtype.itemsize, [rows])

    def finish(self, manifest: Manifest) -> str:
        """Write the manifest and return the label set's digest."""
        write_whole(self.directory / MANIFEST_NAME, manifest.to_bytes())
        return manifest.digest

    def _add_shard(self, content: bytearray, stride: int, per_chunk: int) -> Shard:
        view, size = memoryview(content), per_chunk * stride
        checksums = [chunk_checksum(view[at : at + size]) for at in range(0, len(view), size)]
        index = np.asarray(checksums, dtype="<u4").tobytes()
        return Shard(len(view) // stride, self.add_blob(bytes(view)), self.add_blob(index))


class LabelSetDirectory(LabelSet):
    """A label set in its directory; every read is checked.

    Args:
        directory: directory of the label set.

    Raises:
        ManifestError: the manifest is missing or damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        path = directory / MANIFEST_NAME
        if not path.is_file():
            raise ManifestError(
                f"{directory} holds no {MANIFEST_NAME}: it is no finished label set"
            )
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ManifestError(f"{path} is too large for a manifest")
        try:
            manifest = Manifest.from_bytes(path.read_bytes())
        except ManifestError as error:
            raise ManifestError(f"{path}: {error.message}; {_MAKE_AGAIN}") from None
        super().__init__(manifest)
        self._shards: dict[Digest, ShardFile] = {}

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_shards": {}}

    def path(self, ref: BlobRef) -> Path:
        """File of a blob.

        Raises:
            BlobNotFoundError: it is missing, or of the wrong size.
        """
        path = blob_path(self.directory, ref.digest)
        if not path.is_file() or path.stat().st_size != ref.size:
            raise BlobNotFoundError(
                f"{path} is missing or incomplete; {_MAKE_AGAIN}",
                blob=ref.digest,
            )
        return path

    def read_blob(self, ref: BlobRef) -> bytes:
        """Read a whole blob.

        Raises:
            DigestMismatchError: it is damaged.
        """
        path = self.path(ref)
        content = path.read_bytes()
        if (found := digest_of(content)) != ref.digest:
            raise DigestMismatchError(
                f"{path} is damaged; {_MAKE_AGAIN}", expected=ref.digest, actual=found
            )
        return content

    def map_shard(self, shard: Shard) -> Rows:
        """See `LabelSet.map_shard`; read once to be verified, and never held in memory whole.

        Raises:
            DigestMismatchError: it is damaged.
        """
        path = self.path(shard.data)
        if (found := file_digest(path)) != shard.data.digest:
            raise DigestMismatchError(
                f"{path} is damaged; {_MAKE_AGAIN}", expected=shard.data.digest, actual=found
            )
        return np.memmap(path, dtype=np.uint8, mode="r").reshape(shard.rows, -1)

    def column(self, section: Section, dtype: str) -> NDArray[Any]:
        """Read a whole section of one integer per row."""
        return self.rows(section).reshape(-1).view(dtype)

    def rows(self, section: Section) -> NDArray[np.uint8]:
        """Read a whole section: uint8, shape (rows, stride), read-only."""
        parts = [self.read_blob(shard.data) for shard in section.shards]
        return np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(-1, section.stride)

    def segment_index(self, segment: Segment) -> SegmentIndex:
        """Read the tables of a segment."""
        return index_of(segment, self.rows)

    def stream(
        self, batches: Iterable[Views], representation: Representation
    ) -> Iterator[DeliveredLabels]:
        """See `LabelSet.stream`; codes are decoded here, with numpy, if labels are requested."""
        check_representation(representation)
        check_batches(batches)
        header = self.codec().header
        if representation.form is not Form.CODES:
            representation.check(header)
        for views in batches:
            check_batch(views)
            rows = self.gather(views)
            if representation.form is not Form.CODES:
                rows = present(self.decoder().decode(rows, views), representation, header)
            rows.flags.writeable = False
            yield DeliveredLabels(views, rows, representation, header.num_classes)

    def resolve(self, views: Views, missing: MissingViews) -> tuple[Views, NDArray[np.int64]]:
        """See `LabelSet.resolve`."""
        check_views(views)
        return self.stored_views().resolve(views, missing)

    def gather(self, views: Views) -> Rows:
        """Packed rows of views.

        Returns:
            uint8, shape (N, stride), in the order of the views.

        Raises:
            ViewNotFoundError: a view is not in the label set.
            ChecksumMismatchError: a chunk is damaged.
        """
        return gather(self.manifest, self.index(), views, self._shard_rows)

    def _shard_rows(self, section: Section, shard: Shard, rows: NDArray[np.int64]) -> Rows:
        packed = None
        while packed is None:
            if shard.data.digest not in self._shards:
                self._shards[shard.data.digest] = self._open_shard(section, shard)
            file = self._shards[shard.data.digest]
            if (chunk := file.damaged_chunk(rows, again=True)) is not None:
                raise ChecksumMismatchError(
                    f"{self.path(shard.data)} is damaged in chunk {chunk}; {_MAKE_AGAIN}",
                    digest=shard.data.digest,
                    chunk=chunk,
                )
            packed = file.take(rows)
            if packed is None:
                # Somebody has written to it: it may be right again, or no longer be whole.
                del self._shards[shard.data.digest]
        return packed

    def _open_shard(self, section: Section, shard: Shard) -> ShardFile:
        checksums = np.frombuffer(self.read_blob(shard.index), dtype="<u4")
        descriptor = os.open(self.path(shard.data), os.O_RDONLY | os.O_CLOEXEC)
        return ShardFile(descriptor, section, shard, checksums)


def blob_path(directory: Path, digest: Digest) -> Path:
    """Where a label set on disk keeps a blob."""
    return directory / "blobs" / digest.replace(":", "-")
