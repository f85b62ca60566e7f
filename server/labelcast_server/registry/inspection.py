"""What label sets there are, in any state, and what is known of each."""

import asyncio
from dataclasses import dataclass
from typing import Any

from labelcast.codec import read_artifact
from labelcast.identifiers import Digest, Tag
from labelcast.label_set import BlobRef, Manifest
from labelcast.opening.drivers import run_async
from labelcast.opening.parts_from_blobs import open_report
from labelcast_server.store.catalog import LabelSetRecord
from labelcast_server.store.store import Store
from labelcast_server.store.verified_reads import read_blob, reader


@dataclass(frozen=True, slots=True)
class LabelSetDetails:
    """One label set as the admin API shows it.

    Attributes:
        record: manifest and state.
        manifest: parsed.
        tags: that point to it.
        memory_bytes: what the store spends on each blob, by digest.
        codec_name: "raw", "topk", "vqae" …
        report: the fit report; None if there is none.
    """

    record: LabelSetRecord
    manifest: Manifest
    tags: tuple[Tag, ...]
    memory_bytes: dict[Digest, int]
    codec_name: str
    report: dict[str, Any] | None


class Inspection:
    """Shows label sets to admins.

    Args:
        store: where they are.
    """

    def __init__(self, store: Store) -> None:
        self._blobs = store.blobs
        self._catalog = store.catalog

    async def label_sets(self) -> list[tuple[LabelSetRecord, tuple[Tag, ...]]]:
        """Every label set with its tags, oldest first."""
        tags = await self._catalog.tags()
        return [(record, _tags_of(record, tags)) for record in await self._catalog.label_sets()]

    async def inspect(self, reference: str) -> LabelSetDetails:
        """One label set in any state."""
        record = await self._catalog.label_set(await self._catalog.resolve(reference))
        manifest, blobs = await asyncio.to_thread(_parse, record.manifest)
        memory = {blob: await self._blobs.memory_bytes(blob) for blob in blobs}
        artifact = await read_blob(self._blobs, manifest.codec)
        return LabelSetDetails(
            record=record,
            manifest=manifest,
            tags=_tags_of(record, await self._catalog.tags()),
            memory_bytes=memory,
            codec_name=(await asyncio.to_thread(read_artifact, artifact)).name,
            report=await self._read_report(manifest),
        )

    async def _read_report(self, manifest: Manifest) -> dict[str, Any] | None:
        if manifest.report is None:
            return None
        return await run_async(open_report(manifest), reader(self._blobs))


def _tags_of(record: LabelSetRecord, tags: dict[Tag, Digest]) -> tuple[Tag, ...]:
    return tuple(sorted(tag for tag, digest in tags.items() if digest == record.digest))


def _parse(content: bytes) -> tuple[Manifest, dict[Digest, BlobRef]]:
    manifest = Manifest.from_bytes(content)
    return manifest, manifest.blobs()
