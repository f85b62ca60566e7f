"""Label sets come, are published under tags, and go."""

import asyncio
import contextlib

from labelcast.errors import BlobNotFoundError, DigestMismatchError, ManifestError
from labelcast.identifiers import Digest, Tag
from labelcast.label_set import Manifest, digest_of
from labelcast_server.registry.admission import Admission
from labelcast_server.registry.life_cycle import LabelSets
from labelcast_server.registry.validation import validate
from labelcast_server.store.catalog import LabelSetRecord
from labelcast_server.store.store import Store
from labelcast_server.store.verified_reads import shard_blob


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
        try:
            await validate(self._blobs, manifest)
        except ManifestError:
            await self._drop_other_chunks(known, manifest)
            raise
        return await self._label_sets.stage(known, content)

    async def publish(self, digest: Digest, tag: Tag) -> None:
        """Point a tag to a label set, if the store is still one that keeps it."""
        await self._admission.check(0)
        await self._label_sets.publish(digest, tag)

    async def retire(self, reference: str) -> None:
        """Take a label set away from its readers."""
        await self._label_sets.retire(await self._catalog.resolve(reference))

    async def _drop_other_chunks(self, digest: Digest, manifest: Manifest) -> None:
        """Make room for a new upload of a shard that is stored in other chunks than it must be.

        Raises:
            BlobNotFoundError: there was one.
            ManifestError: another label set needs it as it is.
        """
        for section, shard in [(each, one) for each in manifest.sections() for one in each.shards]:
            try:
                with contextlib.suppress(BlobNotFoundError):
                    await shard_blob(self._blobs, section, shard)
            except ManifestError as error:
                if (await self._blobs.blob(shard.data.digest)).size != shard.data.size:
                    continue
                user = await self._user_of(shard.data.digest, digest)
                if user is not None:
                    raise ManifestError(
                        f"label set {user} has shard {shard.data.digest} in other chunks; push one"
                        " of the two label sets to another service"
                    ) from None
                await self._blobs.drop_blob(shard.data.digest)
                raise BlobNotFoundError(error.message, digest=shard.data.digest) from None

    async def _user_of(self, blob: Digest, digest: Digest) -> Digest | None:
        """A label set, other than the one with `digest`, that names a blob; None if none does."""
        for record in await self._catalog.label_sets():
            manifest = await asyncio.to_thread(Manifest.from_bytes, record.manifest)
            if record.digest != digest and blob in manifest.blobs():
                return record.digest
        return None


def _parse(digest: str, content: bytes) -> tuple[Digest, Manifest]:
    actual = digest_of(content)
    if actual != digest:
        raise DigestMismatchError(
            f"the manifest has digest {actual}, not {digest}; send its exact bytes",
            expected=digest,
            actual=actual,
        )
    return actual, Manifest.from_bytes(content)
