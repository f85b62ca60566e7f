"""The chunk cache: store → file of this machine → numpy gather.

Redis keeps label sets; it is not asked for single labels. The first use of a chunk reads it whole,
checks it and writes it to a file that every worker of this machine maps; from then on a label costs
an index. Labels are 84–118 million a second that way against 0.2–0.9 million straight from Redis.

Rules:
  * a row is delivered only from a chunk whose CRC-32 this process has compared, in the file, with
    the shard's index: also one that another worker or an earlier run wrote, whose bytes may be
    damaged or not yet visible here. What fails is read again from the store, checked and rewritten;
  * a chunk that was compared is trusted until the scrubber comes by (`delivery.cache.scrubber`
    says when): damage done to it in between is delivered. So is damage in memory that happens
    after the comparison;
  * two workers may write one chunk at the same time, because they write the same bytes;
  * where there is no room for a file, its rows come straight from the store, each chunk checked:
    slowly, but they come. The file is tried again later;
  * a file that is shorter than it was made is replaced before anything is read from it. Should it
    be cut between this look and the gather that follows, or should the disk be unable to
    read a block that was evicted from memory, the process ends by SIGBUS and is started again.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Rows
from labelcast.errors import LabelcastError, StoreFullError
from labelcast.identifiers import Digest
from labelcast.label_set import Section, Shard, digest_of
from labelcast_server.delivery.cache.bounds import no_room
from labelcast_server.delivery.cache.directory import CacheDirectory
from labelcast_server.delivery.cache.shard_file import ShardFile, file_name
from labelcast_server.delivery.cache.shard_rows import ShardRows, by_owner, by_shard
from labelcast_server.store.blob_store import BlobStore
from labelcast_server.store.verified_reads import (
    check_chunks,
    read_chunk_index,
    read_shard,
    shard_blob,
)

_CHUNKS_A_READ = 32
# What one read from the store may hold.
_READ_BYTES = 4 * 2**20
_ROUNDS = 3
# Gathered on the event loop, in 0.1 to 0.3 ms; 131 rows take 20 us, and starting a thread 100.
_ROWS_ON_THE_LOOP = 4096
# What a further shard costs a gather, in rows.
_ROWS_A_SHARD = 100

logger = logging.getLogger("labelcast_server.delivery.cache.chunks")


@dataclass(eq=False, slots=True)
class CachedShard:
    """A shard in use: what is known of it, and its file if there is room for one.

    Attributes:
        section: of which it is a part.
        shard: what the manifest says of it.
        checksums: CRC-32 of every chunk, uint32.
        file: its file; None while there is no room for it.
        in_store: whether the store is known to have it, in the chunks of the manifest.
        try_file_at: when there may be room again, by the monotonic clock.
        lock: held while chunks are checked and read.
    """

    section: Section
    shard: Shard
    checksums: NDArray[np.uint32]
    file: ShardFile | None
    in_store: bool
    try_file_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class ChunkCache:
    """Rows of sections, from the store at first and from files after.

    Args:
        blobs: where chunks come from.
        directory: of the files.
        retry_seconds: until the file of a shard is tried again after there was no room for it.

    Attributes:
        counts: for whoever watches the cache.
    """

    def __init__(
        self,
        blobs: BlobStore,
        directory: CacheDirectory,
        *,
        retry_seconds: float = 30.0,
    ) -> None:
        self._blobs = blobs
        self._directory = directory
        self._retry_seconds = retry_seconds
        self._shards: dict[Digest, CachedShard] = {}
        self._opening = asyncio.Lock()
        self._told_of_no_room = False
        self.counts = directory.counts

    def take(self, section: Section, rows: NDArray[np.int64]) -> Rows | None:
        """As `gather`, if all rows lie in files that are known to be right; else None.

        Takes milliseconds for tens of thousands of rows, or a megabyte: run it in a thread.
        """
        packed, lacking = self._take(section, rows)
        return None if lacking else packed

    async def gather(self, section: Section, rows: NDArray[np.int64]) -> Rows:
        """Packed rows of a section.

        Args:
            section: which.
            rows: int64, shape (N,), each below `section.rows`; any order, repeats allowed.

        Returns:
            uint8, shape (N, stride), in the order of `rows`, newly allocated.

        Raises:
            StorageError: the store cannot be read.
            BlobNotFoundError, ChecksumMismatchError: the store lost or damaged a chunk.
        """
        further_shards = min(len(rows), len(section.shards)) - 1
        if len(rows) + further_shards * _ROWS_A_SHARD > _ROWS_ON_THE_LOOP:
            packed, lacking = await asyncio.to_thread(self._take, section, rows)
        else:
            packed, lacking = self._take(section, rows)
        for part in lacking:
            taken = await self._gather_shard(section, part.shard, part.rows)
            await asyncio.to_thread(packed.__setitem__, part.places, taken)
        return packed

    async def whole(self, section: Section, shard: Shard) -> bytes:
        """A shard that is read once, such as of a table, checked against its digest too.

        Raises:
            DigestMismatchError: the store has it damaged, and its index fits the damage.
            Otherwise as `gather`.
        """
        packed = await self._gather_shard(section, shard, np.arange(shard.rows))
        # Nobody takes rows of it: it needs no scrubbing and may be evicted.
        self._shards.pop(shard.data.digest, None)
        content = await asyncio.to_thread(packed.tobytes)
        if await asyncio.to_thread(digest_of, content) == shard.data.digest:
            return content
        # Damage that fits the checksums: the file's, if the store has other bytes.
        return await read_shard(self._blobs, section, shard)

    async def file_with(self, section: Section, shard: Shard) -> Path:
        """A file that begins with all rows of a shard, each chunk compared with its checksum.

        Raises:
            StoreFullError: there is no room for it.
            Otherwise as `gather`.
        """
        cached = self._shards.get(shard.data.digest) or await self._open(section, shard)
        file = await self._file_of(cached)
        if file is None:
            raise no_room(shard.data.size, self._directory.path)
        await self._make_ready(cached, file, np.arange(len(cached.checksums)))
        file.used = True
        return self._directory.path / file_name(shard)

    def shards_with_files(self) -> list[CachedShard]:
        """Every shard that has a file, for the scrubber."""
        return [cached for cached in list(self._shards.values()) if cached.file is not None]

    def verified_chunks(self) -> int:
        """Chunks that this process has found to be right in their files."""
        return sum(
            int(np.count_nonzero(cached.file.verified))
            for cached in self._shards.values()
            if cached.file is not None
        )

    async def renew(self, cached: CachedShard, numbers: Sequence[int]) -> None:
        """Have chunks that turned out damaged read again from the store.

        Raises:
            LabelcastError: as `gather`; the chunks stay unverified, so no reader gets them.
        """
        if (file := await self._file_of(cached)) is not None:
            await self._make_ready(cached, file, np.asarray(numbers))

    def look(self) -> None:
        """Mark files that were used, and let go of those that were evicted; microseconds a file."""
        for cached in self.shards_with_files():
            if (file := cached.file) is None:
                continue
            if file.is_removed():
                cached.file = None
            else:
                file.mark()

    def _take(self, section: Section, rows: NDArray[np.int64]) -> tuple[Rows, list[ShardRows]]:
        """Rows out of files; and those that no file has yet, whose places are left empty."""
        packed: Rows = np.empty((len(rows), section.stride), dtype=np.uint8)
        lacking = []
        for part in by_shard(section, rows) if len(rows) else ():
            cached = self._shards.get(part.shard.data.digest)
            file = None if cached is None else cached.file
            taken = None if file is None else file.take(section.stride, part.rows)
            if taken is None:
                lacking.append(part)
            elif isinstance(part.places, slice):
                packed = taken
            else:
                packed[part.places] = taken
        return packed, lacking

    async def _gather_shard(self, section: Section, shard: Shard, rows: NDArray[np.int64]) -> Rows:
        cached = self._shards.get(shard.data.digest) or await self._open(section, shard)
        numbers = rows // section.rows_per_chunk
        for _ in range(_ROUNDS):
            file = await self._file_of(cached)
            if file is None:
                break
            try:
                await self._make_ready(cached, file, numbers)
            except (StoreFullError, OSError) as error:
                self._give_up_file(cached, error)
                continue
            taken = await asyncio.to_thread(file.take, section.stride, rows)
            if taken is not None:
                return taken
        return await self._gather_directly(cached, section, rows, numbers)

    async def _make_ready(
        self, cached: CachedShard, file: ShardFile, numbers: NDArray[np.int64]
    ) -> None:
        digest = cached.shard.data.digest
        async with cached.lock:
            missing = await asyncio.to_thread(file.unverified, numbers)
            for some in _batches(missing, _chunks_a_read(cached.section)):
                written = file.written(some)
                wrong = await asyncio.to_thread(file.check, written) if written else []
                self.counts.saw("verified", len(written))
                if wrong:
                    self.counts.saw("damaged", len(wrong))
                    logger.warning(
                        "chunks %s of %s were damaged in their cache file; reading them again",
                        ", ".join(map(str, wrong)),
                        digest,
                    )
                absent = sorted({*some} - {*written} | {*wrong})
                if absent:
                    chunks = await self._read(cached, absent)
                    await asyncio.to_thread(file.put, list(zip(absent, chunks, strict=True)))
                    self.counts.saw("loaded", len(absent))
                    self.counts.saw("repaired", sum(bool(file.verified[each]) for each in wrong))

    async def _read(self, cached: CachedShard, numbers: Sequence[int]) -> list[bytes]:
        digest = cached.shard.data.digest
        if not cached.in_store:
            await shard_blob(self._blobs, cached.section, cached.shard)
            cached.in_store = True
        chunks = await self._blobs.read_chunks(digest, numbers)
        await asyncio.to_thread(check_chunks, chunks, cached.checksums, numbers, digest)
        return chunks

    async def _gather_directly(
        self,
        cached: CachedShard,
        section: Section,
        rows: NDArray[np.int64],
        numbers: NDArray[np.int64],
    ) -> Rows:
        packed = np.empty((len(rows), section.stride), dtype=np.uint8)
        places = await asyncio.to_thread(_by_chunk, numbers, len(cached.checksums))
        for some in _batches(list(places), _chunks_a_read(section)):
            for number, chunk in zip(some, await self._read(cached, some), strict=True):
                place = places[number]
                content = np.frombuffer(chunk, dtype=np.uint8).reshape(-1, section.stride)
                packed[place] = content[rows[place] - number * section.rows_per_chunk]
            self.counts.saw("direct", len(some))
        return packed

    async def _open(self, section: Section, shard: Shard) -> CachedShard:
        async with self._opening:
            known = self._shards.get(shard.data.digest)
            if known is not None:
                return known
            file = await asyncio.to_thread(self._find_file, section, shard)
            if file is None:
                await shard_blob(self._blobs, section, shard)
                checksums = await read_chunk_index(self._blobs, shard)
            else:
                checksums = file.checksums
            cached = CachedShard(section, shard, checksums, file, in_store=file is None)
            self._shards[shard.data.digest] = cached
            return cached

    async def _file_of(self, cached: CachedShard) -> ShardFile | None:
        """The shard's file, made where it is missing or cut; None while there is no room for it."""
        async with cached.lock:
            if cached.file is not None and not cached.file.is_whole():
                cached.file = None
            if cached.file is None and time.monotonic() >= cached.try_file_at:
                try:
                    cached.file = await asyncio.to_thread(
                        ShardFile.open,
                        self._directory,
                        cached.section,
                        cached.shard,
                        cached.checksums,
                    )
                except (StoreFullError, OSError) as error:
                    self._give_up_file(cached, error)
                else:
                    self._told_of_no_room = False
            return cached.file

    def _find_file(self, section: Section, shard: Shard) -> ShardFile | None:
        try:
            return ShardFile.open(self._directory, section, shard)
        except OSError as error:
            logger.debug("no file of %s can be found: %s", shard.data.digest, error)
            return None

    def _give_up_file(self, cached: CachedShard, error: LabelcastError | OSError) -> None:
        cached.file, cached.try_file_at = None, time.monotonic() + self._retry_seconds
        if not self._told_of_no_room:
            self._told_of_no_room = True
            logger.error("%s; labels come straight from the store meanwhile, slowly", error)


def _by_chunk(numbers: NDArray[np.int64], count: int) -> dict[int, NDArray[np.int64] | slice]:
    return dict(by_owner(numbers, count))


def _chunks_a_read(section: Section) -> int:
    return max(1, min(_CHUNKS_A_READ, _READ_BYTES // section.chunk_bytes))


def _batches(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
