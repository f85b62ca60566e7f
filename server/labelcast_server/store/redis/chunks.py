"""Chunks in Redis: written once, read whole, counted, removed; in batches of bounded size."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from labelcast.identifiers import UploadId
from labelcast_server.store import refusals
from labelcast_server.store.blob_store import Upload
from labelcast_server.store.redis.entries import StoredBlob
from labelcast_server.store.redis.keys import CHUNKS_PER_GROUP, chunk_key
from labelcast_server.store.redis.link import RedisLink

# One pipeline: large enough to hide the round trip, small enough not to hold up other clients.
_BATCH_BYTES = 4 * 2**20
_BATCH_COMMANDS = 512

_T = TypeVar("_T")


class RedisChunks:
    """The strings that hold the bytes of blobs, without any notion of what is visible.

    Values are written with SET, never APPEND or SETRANGE: those leave room for growth behind.

    Args:
        link: how to reach the Redis.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def write(self, upload: Upload, first_chunk: int, chunks: Sequence[bytes]) -> None:
        """Write chunks of a session; one that is there already must be the same.

        Raises:
            UploadNotFoundError: the session was aborted meanwhile.
            DigestMismatchError: a chunk was written before with other bytes.
        """
        numbered = enumerate(chunks, first_chunk)
        for _, group in groupby(numbered, lambda item: item[0] // CHUNKS_PER_GROUP):
            for some in _batches(list(group), _chunks_per_batch(upload.blob.chunk_bytes)):
                await self._write_together(upload, some)

    async def read(self, blob: StoredBlob, numbers: Sequence[int]) -> list[bytes]:
        """Chunks in the order of `numbers`.

        Raises:
            BlobNotFoundError: one is gone.
            ChecksumMismatchError: one is not of its exact size.
        """
        chunks: list[bytes] = []
        for some in _batches(numbers, _chunks_per_batch(blob.info.chunk_bytes)):
            contents = await self._link.pipeline(
                (("GET", chunk_key(blob.data_id, number)) for number in some), repeatable=True
            )
            chunks.extend(
                refusals.whole_chunk(blob.info, number, content)
                for number, content in zip(some, contents, strict=True)
            )
        return chunks

    async def unlink(self, data_id: UploadId, chunk_count: int) -> None:
        """Remove chunks 0 to `chunk_count` - 1, those that are there."""
        for numbers in _batches(range(chunk_count), _BATCH_COMMANDS):
            await self._link.pipeline(
                (("UNLINK", chunk_key(data_id, number)) for number in numbers), repeatable=True
            )

    async def memory_bytes(self, blob: StoredBlob) -> int:
        """What Redis spends on the chunks, their keys and entries included.

        Raises:
            BlobNotFoundError: one is gone.
        """
        total = 0
        for numbers in _batches(range(blob.info.chunk_count), _BATCH_COMMANDS):
            sizes = await self._link.pipeline(
                (
                    ("MEMORY USAGE", chunk_key(blob.data_id, number), "SAMPLES", 0)
                    for number in numbers
                ),
                repeatable=True,
            )
            for number, size in zip(numbers, sizes, strict=True):
                if size is None:
                    raise refusals.chunk_gone(blob.info, number)
                total += size
        return total

    async def _write_together(self, upload: Upload, numbered: Sequence[tuple[int, bytes]]) -> None:
        """Write chunks of one group; a sync to disk for each would take six times as long."""
        replies = await self._link.pipeline(
            (
                ("SET", chunk_key(upload.upload_id, number), chunk, "NX")
                for number, chunk in numbered
            ),
            repeatable=True,
            together=True,
        )
        # What an earlier try that broke off or a writer beside this one wrote must be the same.
        taken = [item for item, reply in zip(numbered, replies, strict=True) if not reply]
        present = await self._link.pipeline(
            (("GET", chunk_key(upload.upload_id, number)) for number, _ in taken), repeatable=True
        )
        for (number, chunk), content in zip(taken, present, strict=True):
            if content is None:
                raise refusals.upload_not_found(upload.upload_id)
            if content != chunk:
                raise refusals.upload_conflict(upload, number)


def _chunks_per_batch(chunk_bytes: int) -> int:
    return max(1, _BATCH_BYTES // chunk_bytes)


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
