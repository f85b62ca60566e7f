"""Label sets come, are published under tags, and go."""

import asyncio

from labelcast.errors import DigestMismatchError
from labelcast.identifiers import Digest, Tag
from labelcast.label_set import Manifest, digest_of
from labelcast_server.registry.admission import Admission
from labelcast_server.registry.life_cycle import LabelSets
from labelcast_server.registry.validation import validate
from labelcast_server.store.catalog import LabelSetRecord
from labelcast_server.store.store import Store


class Publisher:
    """Records label sets and moves tags.

    Args:
        store: durable home.
        admission: whether it may be given more.
    """

    def __init__(self, store: Store, admission: Admission) -> None:
        self._blobs = store.blobs
        self._catalog = store.catalog
        self._label_sets = LabelSets(store.catalog)
        self._admission = admission

    async def stage(self, digest: str, content: bytes) -> LabelSetRecord:
        """Validate a manifest with everything it names, then record the label set.

        Args:
            digest: the identity that the caller computed.
            content: canonical JSON.

        Raises:
            DigestMismatchError, ManifestError, CodecError, LabelcastError: what is wrong; nothing
                is recorded.
        """
        known, manifest = await asyncio.to_thread(_parse, digest, content)
        await validate(self._blobs, manifest)
        return await self._label_sets.stage(known, content)

    async def publish(self, digest: Digest, tag: Tag) -> None:
        """Point a tag to a label set, if the store is still one that keeps it."""
        await self._admission.check(0)
        await self._label_sets.publish(digest, tag)

    async def retire(self, reference: str) -> None:
        """Take a label set away from its readers."""
        await self._label_sets.retire(await self._catalog.resolve(reference))


def _parse(digest: str, content: bytes) -> tuple[Digest, Manifest]:
    actual = digest_of(content)
    if actual != digest:
        raise DigestMismatchError(
            f"the manifest has digest {actual}, not {digest}; send its exact bytes",
            expected=digest,
            actual=actual,
        )
    return actual, Manifest.from_bytes(content)
