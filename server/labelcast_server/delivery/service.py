"""The read side: what students ask for. Knows no gRPC, HTTP, Redis or torch."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import read_artifact
from labelcast.identifiers import Digest
from labelcast.label_set import BlobRef, Manifest, MissingViews, StoredViews, check_digest
from labelcast.opening.drivers import run_async
from labelcast.opening.parts_from_blobs import open_context, open_index
from labelcast.representation import Form, Representation
from labelcast.views import Views
from labelcast_server.delivery.block_reader import BlockReader, Decoder
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.tables import SharedTables
from labelcast_server.delivery.open_label_set import OpenLabelSet, Tables
from labelcast_server.delivery.resolving import ReadableLabelSets
from labelcast_server.delivery.stored_labels import check_served
from labelcast_server.delivery.unsent_room import UnsentRoom
from labelcast_server.store.store import Store
from labelcast_server.store.verified_reads import read_blob

_OPEN_LABEL_SETS = 64
# Forms have temperatures, so there is no end to them.
_READERS = 256


class LabelService:
    """The use cases of a student.

    Args:
        store: label sets and blobs.
        chunks: cache of packed rows.
        tables: where tables of label sets are kept.
        decoder: decodes codes to labels.
        message_bytes: payload bytes of one message of a reply.
        unsent_bytes: memory for all replies being prepared or sent.
    """

    def __init__(
        self,
        store: Store,
        chunks: ChunkCache,
        tables: SharedTables,
        decoder: Decoder,
        *,
        message_bytes: int,
        unsent_bytes: int,
    ) -> None:
        self._store = store
        self._chunks = chunks
        self._tables = tables
        self._decoder = decoder
        self._block_bytes = message_bytes
        self._room = UnsentRoom(unsent_bytes)
        self._readable = ReadableLabelSets(store.catalog)
        self._open: OrderedDict[Digest, OpenLabelSet] = OrderedDict()
        self._readers: dict[tuple[Digest, Representation], BlockReader] = {}
        self._opening = asyncio.Lock()

    async def label_set(self, reference: str) -> OpenLabelSet:
        """Resolve a tag or digest and load its label set.

        Raises:
            LabelSetNotFoundError, LabelSetRetiredError: there is nothing to serve.
            StorageError, DataError: the store failed or holds damaged bytes.
        """
        # Checked every time: a set that was retired since must not be served from memory.
        digest = await self._readable.resolve(reference)
        if not self._is_open(digest):
            async with self._opening:
                if not self._is_open(digest):
                    record = await self._store.catalog.label_set(digest)
                    self._open[digest] = await self._load(digest, record.manifest)
                    while len(self._open) > _OPEN_LABEL_SETS:
                        self._open.popitem(last=False)
                        self._readers.clear()
        self._open.move_to_end(digest)
        return self._open[digest]

    async def renew(self) -> None:
        """Open label sets anew whose tables were damaged, which repairs them for all workers.

        Raises:
            As `label_set`.
        """
        for digest in [digest for digest in self._open if not self._is_open(digest)]:
            await self.label_set(digest)

    async def reader(self, digest: Digest, representation: Representation) -> "BlockReader":
        """Prepare to read labels of one set in one form.

        Raises:
            UnsupportedFormError, ContractMismatchError: the labels do not come in that form.
            Otherwise as `label_set`.
        """
        label_set = await self.label_set(digest)
        known = self._readers.get((digest, representation))
        if known is not None and known.label_set is label_set:
            return known
        if representation.form is not Form.CODES:
            check_served(label_set.codec, label_set.manifest, representation)
        if len(self._readers) >= _READERS:
            self._readers.clear()
        made = self._readers[digest, representation] = BlockReader(
            label_set,
            representation,
            self._chunks,
            self._decoder,
            message_bytes=self._block_bytes,
            room=self._room,
        )
        return made

    async def resolve(
        self, digest: Digest, views: Views, missing: MissingViews
    ) -> tuple[Views, NDArray[np.int64]]:
        """Resolve stored views; see `StoredViews.resolve`.

        Raises:
            ViewNotFoundError: a view is missing and must not be, or a sample has none at all.
            Otherwise as `label_set`.
        """
        label_set = await self.label_set(digest)
        return await asyncio.to_thread(label_set.stored.resolve, views, missing)

    async def blob(self, digest: Digest, blob: str, offset: int) -> AsyncIterator[bytes]:
        """Read a blob of a label set, piece by piece; the receiver checks it against its digest.

        Args:
            digest: digest of the label set.
            blob: digest of a blob that its manifest names.
            offset: number of bytes to skip.

        Raises:
            BlobNotFoundError: the manifest names no such blob, or the store lost it.
            Otherwise as `label_set`.
        """
        label_set = await self.label_set(digest)
        ref = label_set.blob_ref(blob)
        if ref == label_set.manifest.codec:
            # In memory already and proven: no need to read it from the store again.
            for start in range(offset, len(label_set.artifact), self._block_bytes):
                yield label_set.artifact[start : start + self._block_bytes]
            return
        info = await self._store.blobs.blob(ref.digest)
        step = max(1, self._block_bytes // info.chunk_bytes)
        first, surplus = divmod(offset, info.chunk_bytes)
        for start in range(first, info.chunk_count, step):
            numbers = range(start, min(start + step, info.chunk_count))
            piece = b"".join(await self._store.blobs.read_chunks(ref.digest, numbers))
            yield piece[surplus:]
            surplus = 0

    async def watch(self) -> None:
        """Hear which label sets were retired, until cancelled; without it, ask at every call."""
        await self._readable.watch()

    async def ping_store(self) -> None:
        """Return if the store answers; codes need nothing else."""
        await self._store.ping()

    @property
    def decoder_pings(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What returns if a decoder process decodes labels, by the name of the process."""
        return self._decoder.pings

    def _is_open(self, digest: Digest) -> bool:
        known = self._open.get(digest)
        return known is not None and known.tables.are_usable()

    async def _load(self, digest: Digest, content: bytes) -> OpenLabelSet:
        manifest, blobs = await asyncio.to_thread(_parse, digest, content)
        artifact = await read_blob(self._store.blobs, manifest.codec)
        tables = await asyncio.to_thread(self._tables.share, await self._open_tables(manifest))
        return OpenLabelSet(
            digest=digest,
            manifest=manifest,
            content=content,
            blobs=blobs,
            report=b""
            if manifest.report is None
            else await read_blob(self._store.blobs, manifest.report),
            artifact=artifact,
            codec=await asyncio.to_thread(read_artifact, artifact),
            tables=tables,
        )

    async def _open_tables(self, manifest: Manifest) -> Tables:
        shards = {
            shard.data: (section, shard)
            for segment in manifest.segments
            for section in segment.sections().values()
            for shard in section.shards
        }

        async def read(ref: BlobRef) -> bytes:
            return await self._chunks.whole(*shards[ref])

        index = await run_async(open_index(manifest), read)
        context = await run_async(open_context(manifest, index), read)
        return Tables(index, context, StoredViews(index))


def _parse(digest: Digest, content: bytes) -> tuple[Manifest, dict[Digest, BlobRef]]:
    check_digest(content, digest, "the manifest in the store")
    manifest = Manifest.from_bytes(content)
    return manifest, manifest.blobs()
