"""A label set in a store, put there the way that the admin API does it."""

from collections.abc import AsyncIterator

from labelcast.identifiers import Digest
from labelcast.label_set import Manifest
from labelcast.label_set.chunking import CHUNK_BYTES
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_server.registry.services import RegistryServices
from labelcast_server.store.store import Store


def services_over(store: Store) -> RegistryServices:
    """The registry over a store that forgets, which tests may use."""
    return RegistryServices.over(store, allow_unsafe_store=True)


async def push(store: Store, label_set: LabelSetDirectory, *, stage: bool = True) -> None:
    chunk_bytes = chunk_bytes_of(label_set.manifest)
    for digest, ref in label_set.manifest.blobs().items():
        content = label_set.read_blob(ref)
        await upload(store, digest, content, chunk_bytes.get(digest, CHUNK_BYTES))
    if stage:
        await services_over(store).publisher.stage(label_set.digest, label_set.manifest.to_bytes())


def chunk_bytes_of(manifest: Manifest) -> dict[Digest, int]:
    """Size of the chunks that each shard is uploaded in."""
    sections = [part for segment in manifest.segments for part in segment.sections().values()]
    sections += [] if manifest.head is None else [manifest.head]
    return {
        shard.data.digest: section.chunk_bytes for section in sections for shard in section.shards
    }


async def upload(store: Store, digest: Digest, content: bytes, chunk_bytes: int) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield content

    uploads = services_over(store).uploads
    session = await uploads.begin(digest, len(content), chunk_bytes)
    await uploads.receive(session.upload_id, 0, body())
    await uploads.finish(session.upload_id, digest)
