"""Reads whole blobs and sections from the store and verifies them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import DigestMismatchError, ManifestError
from labelcast.identifiers import Digest, digest_from_hash
from labelcast.label_set import BlobRef, Section, Shard, check_chunk, check_digest
from labelcast_server.store.blob_store import BlobInfo, BlobStore

_CHUNKS_A_READ = 32
# Chunks of large rows are large as well.
_READ_BYTES = 4 * 2**20

Name = TypeVar("Name", bound=str)
ReadChunks = Callable[[Name, Sequence[int]], Awaitable[list[bytes]]]


async def read_blob(store: BlobStore, ref: BlobRef) -> bytes:
    """Read a whole blob: codec, report, table, chunk index.

    Raises:
        BlobNotFoundError: the store does not have it.
        DigestMismatchError: it is damaged.
    """
    info = await store.blob(ref.digest)
    if info.size != ref.size:
        raise DigestMismatchError(
            f"blob {ref.digest} has {info.size} bytes, the manifest says {ref.size}; push the label"
            " set again",
            expected=ref.digest,
        )
    parts = []
    for numbers in _reads(info):
        parts += await store.read_chunks(ref.digest, numbers)
    return await asyncio.to_thread(_whole, parts, ref)


async def stored_digest(info: BlobInfo, read: ReadChunks[Name], name: Name) -> Digest:
    """Digest of what the store has of a blob, or of a session that is complete.

    Args:
        info: how many chunks.
        read: gives chunks by name and numbers.
        name: of the blob or the session, for `read`.
    """
    hasher = hashlib.sha256()
    for numbers in _reads(info):
        content = b"".join(await read(name, numbers))
        await asyncio.to_thread(hasher.update, content)
    return digest_from_hash(hasher.digest())


async def read_chunk_index(store: BlobStore, shard: Shard) -> NDArray[np.uint32]:
    """CRC-32 of every chunk of a shard."""
    return np.frombuffer(await read_blob(store, shard.index), dtype="<u4")


async def shard_blob(store: BlobStore, section: Section, shard: Shard) -> BlobInfo:
    """Look up how the store holds a shard.

    Raises:
        BlobNotFoundError: the store does not have it.
        ManifestError: it is stored in other chunks than the manifest says.
    """
    info = await store.blob(shard.data.digest)
    # Two small columns may be one blob: one that fits one chunk is stored the same either way.
    one_chunk = info.size <= min(info.chunk_bytes, section.chunk_bytes)
    if info.size != shard.data.size or not (info.chunk_bytes == section.chunk_bytes or one_chunk):
        raise ManifestError(
            f"shard {info.digest} is stored as {info.size} bytes in chunks of {info.chunk_bytes},"
            f" not {shard.data.size} in {section.chunk_bytes}; push the label set again"
        )
    return info


def check_chunks(
    chunks: Sequence[bytes], index: NDArray[np.uint32], numbers: Sequence[int], shard: Digest
) -> None:
    """Refuse damaged chunks; takes milliseconds for a few dozen: run it in a thread.

    Raises:
        ChecksumMismatchError: the CRC-32 of one is not that in the shard's index.
    """
    for number, chunk in zip(numbers, chunks, strict=True):
        check_chunk(chunk, index, number, shard)


async def read_rows(store: BlobStore, section: Section) -> AsyncIterator[NDArray[np.uint8]]:
    """Read all rows of a section in order, a few chunks at a time, each checked against its index.

    Yields:
        uint8, shape (n, stride).

    Raises:
        ManifestError: a shard was stored in other chunks than the manifest says.
        ChecksumMismatchError: a chunk is damaged.
    """
    for shard in section.shards:
        async for content in _checked(store, section, shard):
            yield np.frombuffer(content, dtype=np.uint8).reshape(-1, section.stride)


async def read_shard(store: BlobStore, section: Section, shard: Shard) -> bytes:
    """A shard whole, checked both against its index and against its digest.

    Raises:
        ManifestError, ChecksumMismatchError: as `read_rows`.
        DigestMismatchError: it is damaged, and its index fits the damage.
    """
    parts = [content async for content in _checked(store, section, shard)]
    return await asyncio.to_thread(_whole, parts, shard.data)


async def _checked(store: BlobStore, section: Section, shard: Shard) -> AsyncIterator[bytes]:
    info = await shard_blob(store, section, shard)
    index = await read_chunk_index(store, shard)
    for numbers in _reads(info):
        chunks = await store.read_chunks(info.digest, numbers)
        await asyncio.to_thread(check_chunks, chunks, index, numbers, info.digest)
        yield b"".join(chunks)


def _whole(parts: Sequence[bytes], ref: BlobRef) -> bytes:
    content = b"".join(parts)
    check_digest(content, ref.digest, f"blob {ref.digest}")
    return content


def _reads(info: BlobInfo) -> Iterator[range]:
    """Numbers of chunks, in order, as many at once as a read should hold."""
    step = max(1, min(_CHUNKS_A_READ, _READ_BYTES // info.chunk_bytes))
    for start in range(0, info.chunk_count, step):
        yield range(start, min(start + step, info.chunk_count))


def reader(store: BlobStore) -> Callable[[BlobRef], Awaitable[bytes]]:
    """Make the callable that reads blobs for an opening; see `labelcast.opening.drivers`."""
    return partial(read_blob, store)
