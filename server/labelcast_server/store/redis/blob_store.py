"""`RedisBlobs`: blobs, and the sessions that upload them, in one Redis.

An upload writes its chunks under its own ID; one script over control keys finishes it. A chunk is
written with SET ... NX: a late writer finds the key taken and changes nothing, so a visible blob
stays unchanged.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from labelcast.errors import BlobNotFoundError, InvalidRequestError
from labelcast.identifiers import Digest, UploadId
from labelcast_server.store import refusals
from labelcast_server.store.blob_store import BlobInfo, BlobStore, Capacity, Upload
from labelcast_server.store.redis import entries, keys, scripts
from labelcast_server.store.redis.chunks import RedisChunks
from labelcast_server.store.redis.disk import RedisDisk
from labelcast_server.store.redis.health import safety_problems_from
from labelcast_server.store.redis.link import RedisLink

_REMEMBERED_BLOBS = 4096


class RedisBlobs(BlobStore):
    """Keeps blobs in one Redis, shared by any number of services.

    Args:
        link: connection to it.
        disk: disk that it writes to.
    """

    def __init__(self, link: RedisLink, disk: RedisDisk) -> None:
        self._link = link
        self._disk = disk
        self._chunks = RedisChunks(link)
        # The place of a visible blob's chunks never changes, so it is remembered between reads.
        self._remembered: dict[Digest, entries.StoredBlob] = {}

    async def begin_upload(self, upload: Upload) -> None:
        refusals.check_new_upload(upload)
        value = entries.session_value(upload)
        async with self._disk.write():
            await self._link.command(
                "HSETNX", keys.UPLOADS, upload.upload_id, value, repeatable=True
            )
        if await self._session_value(upload.upload_id) != value:
            raise InvalidRequestError("this upload ID is in use; draw a new one")

    async def upload(self, upload_id: UploadId) -> Upload:
        return entries.session_from(upload_id, await self._session_value(upload_id))

    async def append_chunks(
        self, upload_id: UploadId, first_chunk: int, chunks: Sequence[bytes]
    ) -> Upload:
        before = await self._session_value(upload_id)
        upload = entries.session_from(upload_id, before)
        received = refusals.received_after(upload, first_chunk, chunks)
        advanced = replace(upload, received_bytes=received)
        async with self._disk.write(received - upload.received_bytes):
            await self._chunks.write(upload, first_chunk, chunks)
            applied = await self._link.script(
                scripts.ADVANCE_UPLOAD,
                [keys.UPLOADS],
                [upload_id, before, entries.session_value(advanced)],
            )
        if not applied:
            raise refusals.upload_moved_on(await self.upload(upload_id))
        return advanced

    async def read_upload_chunks(self, upload_id: UploadId, numbers: Sequence[int]) -> list[bytes]:
        upload = await self.upload(upload_id)
        received_chunks = -(-upload.received_bytes // upload.blob.chunk_bytes)
        refusals.check_numbers(numbers, received_chunks, "this upload so far")
        return await self._chunks.read(entries.StoredBlob(upload.blob, upload_id), numbers)

    async def finish_upload(self, upload_id: UploadId) -> BlobInfo:
        session = await self._session_value(upload_id)
        upload = entries.session_from(upload_id, session)
        refusals.check_complete(upload)
        digest, own = upload.blob.digest, entries.blob_value(upload)
        async with self._disk.write():
            visible = await self._link.script(
                scripts.FINISH_UPLOAD,
                [keys.UPLOADS, keys.BLOBS, keys.GARBAGE],
                [upload_id, session, digest, own, entries.garbage_value(upload)],
            )
        if not isinstance(visible, bytes):
            # A complete session does not advance: another caller finished or aborted this one.
            raise refusals.upload_not_found(upload_id)
        if visible != own:
            await self._chunks.unlink(upload_id, upload.blob.chunk_count)
        return entries.blob_from(digest, visible).info

    async def abort_upload(self, upload_id: UploadId) -> None:
        value = await self._link.command("HGET", keys.UPLOADS, upload_id, repeatable=True)
        if value is not None:
            await self._drop(entries.session_from(upload_id, value))

    async def sweep(self, now: float) -> int:
        dropped_before = await self._link.hash_fields(keys.GARBAGE)
        for data_id, value in dropped_before.items():
            garbage = entries.garbage_from(data_id, value)
            await self._chunks.unlink(garbage.data_id, garbage.chunk_count)
            if garbage.expires_at < now:
                await self._link.command("HDEL", keys.GARBAGE, data_id)
        uploads = entries.sessions_from(await self._link.hash_fields(keys.UPLOADS))
        return sum([await self._drop(upload) for upload in uploads if upload.expires_at < now])

    async def blob(self, digest: Digest) -> BlobInfo:
        return (await self._visible(digest)).info

    async def read_chunks(self, digest: Digest, numbers: Sequence[int]) -> list[bytes]:
        blob = self._remembered.get(digest) or await self._visible(digest)
        refusals.check_numbers(numbers, blob.info.chunk_count, digest)
        try:
            return await self._chunks.read(blob, numbers)
        except BlobNotFoundError:
            # It may have been removed and pushed again since its place was remembered.
            present = await self._visible(digest)
            if present == blob:
                raise
            refusals.check_numbers(numbers, present.info.chunk_count, digest)
            return await self._chunks.read(present, numbers)

    async def drop_blob(self, digest: Digest) -> None:
        self._remembered.pop(digest, None)
        value = await self._link.command("HGET", keys.BLOBS, digest, repeatable=True)
        if value is None:
            return
        self._disk.require_room_to_free()
        blob = entries.blob_from(digest, value)
        garbage = entries.dropped_blob_value(blob.info)
        await self._link.script(
            scripts.DROP_BLOB, [keys.BLOBS, keys.GARBAGE], [digest, value, blob.data_id, garbage]
        )
        # No reader finds it from here on: one that still remembers its place finds the chunks gone
        # and looks it up again.
        await self._chunks.unlink(blob.data_id, blob.info.chunk_count)

    async def memory_bytes(self, digest: Digest) -> int:
        blob = await self._visible(digest)
        chunks = await self._chunks.memory_bytes(blob)
        everything, blobs = await self._link.pipeline(
            [("MEMORY USAGE", keys.BLOBS, "SAMPLES", 0), ("HLEN", keys.BLOBS)], repeatable=True
        )
        return chunks + int(everything or 0) // max(1, int(blobs))

    async def capacity(self) -> Capacity:
        return self._disk.capacity(await self._link.info())

    async def tend(self) -> None:
        """Keep the disk's reserve file, and rewrite the append-only file when that is due."""
        if self._disk.disk is not None:
            await asyncio.to_thread(self._disk.disk.keep_reserve)
            if self._disk.wants_rewrite(await self._link.info()):
                await self._link.command("BGREWRITEAOF")

    async def safety_problems(self) -> list[str]:
        return safety_problems_from(await self._link.info())

    async def _session_value(self, upload_id: UploadId) -> bytes:
        value: bytes | None = await self._link.command(
            "HGET", keys.UPLOADS, upload_id, repeatable=True
        )
        if value is None:
            raise refusals.upload_not_found(upload_id)
        return value

    async def _visible(self, digest: Digest) -> entries.StoredBlob:
        value = await self._link.command("HGET", keys.BLOBS, digest, repeatable=True)
        if value is None:
            self._remembered.pop(digest, None)
            raise refusals.blob_not_found(digest)
        if len(self._remembered) >= _REMEMBERED_BLOBS:
            self._remembered.clear()
        blob = self._remembered[digest] = entries.blob_from(digest, value)
        return blob

    async def _drop(self, upload: Upload) -> bool:
        """Forget a session, then its chunks; returns whether this call was the one that did."""
        self._disk.require_room_to_free()
        forgotten = await self._link.script(
            scripts.DROP_UPLOAD,
            [keys.UPLOADS, keys.GARBAGE],
            [upload.upload_id, entries.garbage_value(upload)],
        )
        if forgotten:
            await self._chunks.unlink(upload.upload_id, upload.blob.chunk_count)
        return bool(forgotten)
