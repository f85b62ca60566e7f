"""The store's contracts in dictionaries, for tests of everything above the store.

No method awaits anything, so each is atomic among the tasks of one event loop.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace

from labelcast.errors import InvalidRequestError, StoreFullError, StoreUnavailableError
from labelcast.identifiers import Digest, Tag, UploadId
from labelcast_server.store import refusals
from labelcast_server.store.blob_store import BlobInfo, BlobStore, Capacity, Upload
from labelcast_server.store.catalog import Catalog, LabelSetRecord, State
from labelcast_server.store.store import Store


def memory_store(*, max_bytes: int | None = None) -> Store:
    """Make a store that loses everything with its process.

    Args:
        max_bytes: see `MemoryBlobs`.
    """
    connection = MemoryConnection()
    blobs = MemoryBlobs(connection, max_bytes=max_bytes)
    return Store(blobs, MemoryCatalog(connection), connection)


class MemoryConnection:
    """Knows only whether it was closed."""

    def __init__(self) -> None:
        self._closed = False

    async def ping(self) -> None:
        """Raise if it is closed."""
        if self._closed:
            raise StoreUnavailableError("the store is closed")

    async def close(self) -> None:
        """Make every later call fail."""
        self._closed = True


@dataclass
class _Session:
    upload: Upload
    chunks: list[bytes] = field(default_factory=list)


class MemoryBlobs(BlobStore):
    """Blobs in dictionaries.

    Args:
        connection: connection shared with a catalog.
        max_bytes: most chunk bytes that it holds; None for no limit.
    """

    def __init__(self, connection: MemoryConnection, *, max_bytes: int | None = None) -> None:
        self._connection = connection
        self._max_bytes = max_bytes
        self._sessions: dict[UploadId, _Session] = {}
        self._blobs: dict[Digest, tuple[BlobInfo, list[bytes]]] = {}

    async def begin_upload(self, upload: Upload) -> None:
        await self._connection.ping()
        refusals.check_new_upload(upload)
        known = self._sessions.get(upload.upload_id)
        if known is not None and known.upload != upload:
            raise InvalidRequestError("this upload ID is in use; draw a new one")
        self._sessions.setdefault(upload.upload_id, _Session(upload))

    async def upload(self, upload_id: UploadId) -> Upload:
        return (await self._session(upload_id)).upload

    async def append_chunks(
        self, upload_id: UploadId, first_chunk: int, chunks: Sequence[bytes]
    ) -> Upload:
        session = await self._session(upload_id)
        received = refusals.received_after(session.upload, first_chunk, chunks)
        added = received - session.upload.received_bytes
        if self._max_bytes is not None and self._used_bytes() + added > self._max_bytes:
            raise StoreFullError("the memory store is full")
        session.chunks.extend(bytes(chunk) for chunk in chunks)
        session.upload = replace(session.upload, received_bytes=received)
        return session.upload

    async def read_upload_chunks(self, upload_id: UploadId, numbers: Sequence[int]) -> list[bytes]:
        session = await self._session(upload_id)
        refusals.check_numbers(numbers, len(session.chunks), "this upload so far")
        return [session.chunks[number] for number in numbers]

    async def finish_upload(self, upload_id: UploadId) -> BlobInfo:
        session = await self._session(upload_id)
        refusals.check_complete(session.upload)
        del self._sessions[upload_id]
        digest = session.upload.blob.digest
        info, _ = self._blobs.setdefault(digest, (session.upload.blob, session.chunks))
        return info

    async def abort_upload(self, upload_id: UploadId) -> None:
        await self._connection.ping()
        self._sessions.pop(upload_id, None)

    async def sweep(self, now: float) -> int:
        await self._connection.ping()
        expired = [
            upload_id
            for upload_id, session in self._sessions.items()
            if session.upload.expires_at < now
        ]
        for upload_id in expired:
            del self._sessions[upload_id]
        return len(expired)

    async def blob(self, digest: Digest) -> BlobInfo:
        return (await self._visible(digest))[0]

    async def read_chunks(self, digest: Digest, numbers: Sequence[int]) -> list[bytes]:
        info, chunks = await self._visible(digest)
        refusals.check_numbers(numbers, info.chunk_count, digest)
        return [refusals.whole_chunk(info, number, chunks[number]) for number in numbers]

    async def drop_blob(self, digest: Digest) -> None:
        await self._connection.ping()
        self._blobs.pop(digest, None)

    async def memory_bytes(self, digest: Digest) -> int:
        _, chunks = await self._visible(digest)
        return sum(map(len, chunks))

    async def capacity(self) -> Capacity:
        await self._connection.ping()
        used = self._used_bytes()
        if self._max_bytes is None:
            return Capacity(used, None, "nothing")
        return Capacity(used, self._max_bytes - used, "max_bytes")

    async def safety_problems(self) -> list[str]:
        await self._connection.ping()
        return ["a memory store forgets everything with its process; use Redis outside tests"]

    async def _session(self, upload_id: UploadId) -> _Session:
        await self._connection.ping()
        session = self._sessions.get(upload_id)
        if session is None:
            raise refusals.upload_not_found(upload_id)
        return session

    async def _visible(self, digest: Digest) -> tuple[BlobInfo, list[bytes]]:
        await self._connection.ping()
        found = self._blobs.get(digest)
        if found is None:
            raise refusals.blob_not_found(digest)
        return found

    def _used_bytes(self) -> int:
        sessions = (session.chunks for session in self._sessions.values())
        blobs = (chunks for _, chunks in self._blobs.values())
        return sum(len(chunk) for chunks in (*sessions, *blobs) for chunk in chunks)


class MemoryCatalog(Catalog):
    """A catalog in dictionaries.

    Args:
        connection: connection shared with blobs.
    """

    def __init__(self, connection: MemoryConnection) -> None:
        self._connection = connection
        self._label_sets: dict[Digest, LabelSetRecord] = {}
        self._tags: dict[Tag, Digest] = {}
        self._watching: list[asyncio.Queue[Digest]] = []

    async def put_label_set(self, record: LabelSetRecord) -> None:
        await self._connection.ping()
        self._label_sets.setdefault(record.digest, record)

    async def label_set(self, digest: Digest) -> LabelSetRecord:
        await self._connection.ping()
        record = self._label_sets.get(digest)
        if record is None:
            raise refusals.label_set_not_found(digest)
        return record

    async def label_set_state(self, digest: Digest) -> State:
        return (await self.label_set(digest)).state

    async def label_sets(self) -> list[LabelSetRecord]:
        await self._connection.ping()
        return sorted(
            self._label_sets.values(), key=lambda record: (record.created_at, record.digest)
        )

    async def transition(
        self, digest: Digest, *, expected: State, new: State, tag: Tag | None = None
    ) -> None:
        refusals.check_transition(new, tag)
        record = await self.label_set(digest)
        if record.state is not expected:
            raise refusals.wrong_state(digest, record.state, expected)
        self._label_sets[digest] = replace(record, state=new)
        if new is State.RETIRED:
            self._tags = {name: to for name, to in self._tags.items() if to != digest}
        if tag is not None:
            self._tags[tag] = digest
        for changed in self._watching:
            changed.put_nowait(digest)

    async def tags(self) -> dict[Tag, Digest]:
        await self._connection.ping()
        return dict(self._tags)

    async def changes(self) -> AsyncGenerator[Digest | None, None]:
        changed = asyncio.Queue[Digest]()
        self._watching.append(changed)
        try:
            yield None
            while True:
                yield await changed.get()
        finally:
            self._watching.remove(changed)
