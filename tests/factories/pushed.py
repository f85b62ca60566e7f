"""A label set in a store, put there the way that the admin API does it."""

from collections.abc import AsyncIterator

from labelcast.label_set.chunking import CHUNK_BYTES
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_server.registry.publishing import Publisher
from labelcast_server.store.store import Store


async def push(store: Store, label_set: LabelSetDirectory, *, stage: bool = True) -> None:
    publisher = Publisher(store, allow_unsafe_store=True)
    chunk_bytes = {
        shard.data.digest: section.chunk_bytes
        for segment in label_set.manifest.segments
        for section in segment.sections().values()
        for shard in section.shards
    }
    for digest, ref in label_set.manifest.blobs().items():
        content = label_set.read_blob(ref)
        await upload(publisher, digest, content, chunk_bytes.get(digest, CHUNK_BYTES))
    if stage:
        await publisher.stage(label_set.digest, label_set.manifest.to_bytes())


async def upload(publisher: Publisher, digest: str, content: bytes, chunk_bytes: int) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield content

    session = await publisher.begin_upload(digest, len(content), chunk_bytes)
    await publisher.receive(session.upload_id, 0, body())
    await publisher.finish_upload(session.upload_id, digest)
