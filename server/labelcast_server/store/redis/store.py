"""`RedisStore`: the contract in a Redis of 6.2 or later.

An upload writes its chunks under its own ID; finishing it is one script over control keys. A chunk
is written with SET ... NX: whoever writes late finds the key taken and changes nothing, which is
how a blob that is visible stays as it is.

Durability: a reply means "in the append-only file, as its appendfsync says". `transition` also
waits until every connected replica has everything; see there. Under appendfsync everysec a crash of
the machine may take the last second with it; the embedded Redis runs with always.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from labelcast.errors import BlobNotFoundError, InvalidRequestError, StoreUnsafeError
from labelcast_server.store import refusals
from labelcast_server.store.base import Store
from labelcast_server.store.blobs import BlobInfo, Capacity, Upload
from labelcast_server.store.catalog import LabelSetRecord, State
from labelcast_server.store.disk import Disk
from labelcast_server.store.redis import entries, keys, scripts
from labelcast_server.store.redis.chunks import RedisChunks
from labelcast_server.store.redis.disk import RedisDisk
from labelcast_server.store.redis.health import (
    Info,
    online_replicas,
    persistence_problems_from,
    safety_problems_from,
)
from labelcast_server.store.redis.link import RedisLink

DEFAULT_TIMEOUT_SECONDS = 10.0

_REMEMBERED_BLOBS = 4096


class RedisStore(Store):
    """Keeps label sets in one Redis, shared by any number of services.

    Args:
        link: how to reach it.
        disk: what it writes to, where that is known.
    """

    def __init__(self, link: RedisLink, disk: Disk | None = None) -> None:
        self._link = link
        self._disk = RedisDisk(disk)
        self._chunks = RedisChunks(link)
        # Where the chunks of visible blobs lie never changes, so not every read asks for it.
        self._remembered: dict[str, entries.StoredBlob] = {}

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        disk: Disk | None = None,
    ) -> "RedisStore":
        """Store at a URL; nothing is connected yet.

        Args:
            url: redis://, rediss:// or unix:///path/to/socket.
            timeout_seconds: for connecting, and for each answer.
            disk: what it writes to, where that is known.

        Raises:
            InvalidRequestError: the URL is malformed; the message does not repeat it.
        """
        return cls(RedisLink(url, timeout_seconds=timeout_seconds), disk)

    @property
    def address(self) -> str:
        """Host and port or socket path, without credentials."""
        return self._link.address

    async def ping(self) -> None:
        await self._link.command("PING", repeatable=True)

    async def close(self) -> None:
        await self._link.close()

    async def begin_upload(self, upload: Upload) -> None:
        refusals.check_new_upload(upload)
        value = entries.session_value(upload)
        async with self._disk.write():
            await self._link.command(
                "HSETNX", keys.UPLOADS, upload.upload_id, value, repeatable=True
            )
        if await self._session_value(upload.upload_id) != value:
            raise InvalidRequestError("this upload ID is in use; draw a new one")

    async def upload(self, upload_id: str) -> Upload:
        return entries.session_from(upload_id, await self._session_value(upload_id))

    async def append_chunks(
        self, upload_id: str, first_chunk: int, chunks: Sequence[bytes]
    ) -> Upload:
        before = await self._session_value(upload_id)
        upload = entries.session_from(upload_id, before)
        received = refusals.received_after(upload, first_chunk, chunks)
        advanced = replace(upload, received_bytes=received)
        async with self._disk.write(received - upload.received_bytes):
            await self._chunks.write(upload, first_chunk, chunks)
            applied = await self._script(
                scripts.ADVANCE_UPLOAD,
                [keys.UPLOADS],
                [upload_id, before, entries.session_value(advanced)],
            )
        if not applied:
            raise refusals.upload_moved_on(await self.upload(upload_id))
        return advanced

    async def read_upload_chunks(self, upload_id: str, numbers: Sequence[int]) -> list[bytes]:
        upload = await self.upload(upload_id)
        received_chunks = -(-upload.received_bytes // upload.blob.chunk_bytes)
        refusals.check_numbers(numbers, received_chunks, "this upload so far")
        return await self._chunks.read(entries.StoredBlob(upload.blob, upload_id), numbers)

    async def finish_upload(self, upload_id: str) -> BlobInfo:
        session = await self._session_value(upload_id)
        upload = entries.session_from(upload_id, session)
        refusals.check_complete(upload)
        digest, own = upload.blob.digest, entries.blob_value(upload)
        async with self._disk.write():
            visible = await self._script(
                scripts.FINISH_UPLOAD,
                [keys.UPLOADS, keys.BLOBS, keys.GARBAGE],
                [upload_id, session, digest, own, entries.garbage_value(upload)],
            )
        if not isinstance(visible, bytes):
            # Sessions that are complete do not advance: someone else finished or aborted this one.
            raise refusals.upload_not_found(upload_id)
        if visible != own:
            await self._chunks.unlink(upload_id, upload.blob.chunk_count)
        return entries.blob_from(digest, visible).info

    async def abort_upload(self, upload_id: str) -> None:
        value = await self._link.command("HGET", keys.UPLOADS, upload_id, repeatable=True)
        if value is not None:
            await self._drop(entries.session_from(upload_id, value))

    async def sweep(self, now: float) -> int:
        dropped_before = await self._all_of(keys.GARBAGE)
        for data_id, value in dropped_before.items():
            garbage = entries.garbage_from(data_id, value)
            await self._chunks.unlink(data_id, garbage.chunk_count)
            if garbage.expires_at < now:
                await self._link.command("HDEL", keys.GARBAGE, data_id)
        sessions = await self._all_of(keys.UPLOADS)
        uploads = [entries.session_from(*item) for item in sessions.items()]
        return sum([await self._drop(upload) for upload in uploads if upload.expires_at < now])

    async def blob(self, digest: str) -> BlobInfo:
        return (await self._visible(digest)).info

    async def read_chunks(self, digest: str, numbers: Sequence[int]) -> list[bytes]:
        blob = self._remembered.get(digest) or await self._visible(digest)
        refusals.check_numbers(numbers, blob.info.chunk_count, digest)
        try:
            return await self._chunks.read(blob, numbers)
        except BlobNotFoundError:
            # Someone may have removed it and pushed it again since it was remembered.
            present = await self._visible(digest)
            if present == blob:
                raise
            refusals.check_numbers(numbers, present.info.chunk_count, digest)
            return await self._chunks.read(present, numbers)

    async def memory_bytes(self, digest: str) -> int:
        blob = await self._visible(digest)
        chunks = await self._chunks.memory_bytes(blob)
        everything, blobs = await self._link.pipeline(
            [("MEMORY USAGE", keys.BLOBS, "SAMPLES", 0), ("HLEN", keys.BLOBS)], repeatable=True
        )
        return chunks + int(everything or 0) // max(1, int(blobs))

    async def put_label_set(self, record: LabelSetRecord) -> None:
        async with self._disk.write(len(record.manifest)):
            await self._script(
                scripts.PUT_LABEL_SET,
                [keys.label_set_key(record.digest), keys.LABEL_SETS],
                [record.digest, record.manifest, record.state, repr(record.created_at)],
            )

    async def label_set(self, digest: str) -> LabelSetRecord:
        fields = await self._link.command("HGETALL", keys.label_set_key(digest), repeatable=True)
        if not fields:
            raise refusals.label_set_not_found(digest)
        return _record(digest, fields)

    async def label_set_state(self, digest: str) -> State:
        state = await self._link.command(
            "HGET", keys.label_set_key(digest), "state", repeatable=True
        )
        if state is None:
            raise refusals.label_set_not_found(digest)
        return State(state.decode())

    async def label_sets(self) -> list[LabelSetRecord]:
        members = await self._link.command("SMEMBERS", keys.LABEL_SETS, repeatable=True)
        digests = [member.decode() for member in members]
        replies = await self._link.pipeline(
            (("HGETALL", keys.label_set_key(digest)) for digest in digests), repeatable=True
        )
        records = [
            _record(digest, fields)
            for digest, fields in zip(digests, replies, strict=True)
            if fields
        ]
        return sorted(records, key=lambda record: (record.created_at, record.digest))

    async def transition(
        self, digest: str, *, expected: State, new: State, tag: str | None = None
    ) -> None:
        """Take one step of the life cycle, between two checks that nothing can be forgotten.

        Before it: Redis must be able to write to its disk, and every replica that is online must
        have confirmed all earlier writes; else nothing is changed. After it: the same replicas
        confirm the step itself.

        Raises:
            LabelSetNotFoundError: unknown digest.
            TransitionError: its state is not `expected`.
            StoreUnsafeError: a check failed; the message says whether the step was taken.
            StoreFullError: the disk is full; nothing was changed.
        """
        refusals.check_transition(new, tag)
        async with self._disk.write():
            await self._transition(digest, expected, new, tag)

    async def _transition(self, digest: str, expected: State, new: State, tag: str | None) -> None:
        info = await self._info()
        if problems := persistence_problems_from(info):
            raise StoreUnsafeError(f"nothing was changed: {problems[0]}")
        replicas = online_replicas(info)
        if replicas:
            await self._confirmed(replicas, ("SET", keys.FENCE, digest), "nothing was changed")
        found = await self._confirmed(
            replicas,
            _eval(
                scripts.TRANSITION,
                [keys.label_set_key(digest), keys.TAGS],
                [digest, expected, new, tag or "", "1" if new is State.RETIRED else ""],
            ),
            f"the label set is {new} now",
        )
        if found is not None:
            if found == b"":
                raise refusals.label_set_not_found(digest)
            raise refusals.wrong_state(digest, found.decode(), expected)

    async def tags(self) -> dict[str, str]:
        return {tag: value.decode() for tag, value in (await self._all_of(keys.TAGS)).items()}

    async def capacity(self) -> Capacity:
        return self._disk.capacity(await self._info())

    async def tend(self) -> None:
        """Keep the disk's reserve file, and rewrite the append-only file where that is due."""
        if self._disk.disk is not None:
            await asyncio.to_thread(self._disk.disk.keep_reserve)
            if self._disk.wants_rewrite(await self._info()):
                await self._link.command("BGREWRITEAOF")

    async def safety_problems(self) -> list[str]:
        return safety_problems_from(await self._info())

    async def _info(self) -> Info:
        info: Info = await self._link.command("INFO", repeatable=True)
        return info

    async def _all_of(self, key: str) -> dict[str, bytes]:
        fields: dict[bytes, bytes] = await self._link.command("HGETALL", key, repeatable=True)
        return {name.decode(): value for name, value in fields.items()}

    async def _script(
        self, script: str, script_keys: Sequence[str], arguments: Sequence[str | bytes]
    ) -> object:
        return await self._link.command(*_eval(script, script_keys, arguments))

    async def _confirmed(
        self, replicas: int, command: Sequence[str | bytes | int], so_far: str
    ) -> bytes | None:
        """Send a write, and wait until `replicas` replicas have it and all that came before it."""
        # Shorter than the time limit of the connection, which would hide the count.
        wait_ms = int(self._link.timeout_seconds * 500)
        commands = [command, ("WAIT", replicas, wait_ms)] if replicas else [command]
        reply, *confirmations = await self._link.pipeline(commands)
        if confirmations and confirmations[0] < replicas:
            raise StoreUnsafeError(
                f"only {confirmations[0]} of {replicas} replicas of Redis confirmed within"
                f" {wait_ms} ms; {so_far}; look at the replicas and try again"
            )
        return reply  # type: ignore[no-any-return]

    async def _session_value(self, upload_id: str) -> bytes:
        value: bytes | None = await self._link.command(
            "HGET", keys.UPLOADS, upload_id, repeatable=True
        )
        if value is None:
            raise refusals.upload_not_found(upload_id)
        return value

    async def _visible(self, digest: str) -> entries.StoredBlob:
        value = await self._link.command("HGET", keys.BLOBS, digest, repeatable=True)
        if value is None:
            self._remembered.pop(digest, None)
            raise refusals.blob_not_found(digest)
        if len(self._remembered) >= _REMEMBERED_BLOBS:
            self._remembered.clear()
        blob = self._remembered[digest] = entries.blob_from(digest, value)
        return blob

    async def drop_blob(self, digest: str) -> None:
        self._remembered.pop(digest, None)
        value = await self._link.command("HGET", keys.BLOBS, digest, repeatable=True)
        if value is None:
            return
        self._disk.require_room_to_free()
        blob = entries.blob_from(digest, value)
        garbage = entries.dropped_blob_value(blob.info)
        await self._script(
            scripts.DROP_BLOB, [keys.BLOBS, keys.GARBAGE], [digest, value, blob.data_id, garbage]
        )
        # Read by nobody from here on: whoever still remembers the place finds the chunks gone and
        # asks again.
        await self._chunks.unlink(blob.data_id, blob.info.chunk_count)

    async def _drop(self, upload: Upload) -> bool:
        """Forget a session, then its chunks; whether this call was the one that forgot it."""
        self._disk.require_room_to_free()
        forgotten = await self._script(
            scripts.DROP_UPLOAD,
            [keys.UPLOADS, keys.GARBAGE],
            [upload.upload_id, entries.garbage_value(upload)],
        )
        if forgotten:
            await self._chunks.unlink(upload.upload_id, upload.blob.chunk_count)
        return bool(forgotten)


def _eval(
    script: str, script_keys: Sequence[str], arguments: Sequence[str | bytes]
) -> list[str | bytes | int]:
    return ["EVAL", script, len(script_keys), *script_keys, *arguments]


def _record(digest: str, fields: dict[bytes, bytes]) -> LabelSetRecord:
    return LabelSetRecord(
        digest=digest,
        manifest=fields[b"manifest"],
        state=State(fields[b"state"].decode()),
        created_at=float(fields[b"created_at"]),
    )
