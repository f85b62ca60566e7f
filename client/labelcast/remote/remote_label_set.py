"""Label sets of a service, as each client returns them."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.codec import Codec
from labelcast.codec.label_decoder import LabelDecoder
from labelcast.codec.latent import Head, LatentCodec
from labelcast.context.view_context import ViewContext
from labelcast.label_set import (
    BlobRef,
    Manifest,
    MissingViews,
    StageGrid,
    StoredViews,
    ViewIndex,
    stage_grid,
    stage_views,
)
from labelcast.label_set.control_views import ControlViews
from labelcast.label_set.fingerprints import SampleFingerprints
from labelcast.label_set.view_records import ViewRecords
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.drivers import run_async
from labelcast.opening.label_set import LabelSet
from labelcast.opening.parts.heads import named_head, open_head, shard_rows
from labelcast.opening.parts.label_set_parts import LabelSetFacts
from labelcast.opening.parts_from_blobs import (
    open_codec,
    open_context,
    open_control_views,
    open_fingerprints,
    open_index,
    open_records,
    open_sites,
)
from labelcast.opening.pending_labels import PendingLabels
from labelcast.opening.sites import check_not_for_sites, for_sites, read_site_file
from labelcast.plans import Padding, SequencePlan
from labelcast.remote.node_cache.code_choice import CodeChoice
from labelcast.representation import Representation
from labelcast.views import Views

if TYPE_CHECKING:
    from labelcast.remote.async_client import AsyncLabelClient
    from labelcast.remote.client import LabelClient


class RemoteLabelSet(LabelSet):
    """A label set that a client has resolved, checked and pinned by digest.

    Args:
        client: client that sends every request.
        manifest: manifest, verified against the digest.
        report: report on how well the codes keep the labels, verified; {} if there is none.
    """

    def __init__(self, client: "LabelClient", manifest: Manifest, report: dict[str, Any]) -> None:
        super().__init__(manifest)
        self._client = client
        self._report = report

    @property
    def code_choice(self) -> CodeChoice | None:
        """See `LabelClient.code_choice`."""
        return self._client.code_choice(self)

    def read_blob(self, ref: BlobRef) -> bytes:
        """See `LabelSet.read_blob`; reads the client's cache directory if it has one."""
        return self._client.read_blob(self, ref)

    def stream(
        self, batches: Iterable[Views], representation: Representation
    ) -> Iterator[DeliveredLabels]:
        """See `LabelClient.stream`."""
        return self._client.stream(self, batches, representation)

    def ask(self, views: Views, representation: Representation) -> PendingLabels:
        """See `LabelClient.ask`."""
        return self._client.ask(self, views, representation)

    def rows_ahead(self, representation: Representation) -> int:
        """See `LabelSet.rows_ahead`: `rows_in_flight` of the client."""
        return self._client.rows_ahead(self, representation)

    def count_missed(self, reason: str, rows: int) -> None:
        """See `LabelSet.count_missed`."""
        self._client.count_missed(reason, rows)

    def resolve(self, views: Views, missing: MissingViews) -> tuple[Views, NDArray[np.int64]]:
        """See `LabelClient.resolve`."""
        return self._client.resolve(self, views, missing)


class AsyncRemoteLabelSet(LabelSetFacts):
    """A label set of the asynchronous client; see `RemoteLabelSet`.

    Args:
        client: client that sends every request.
        manifest: manifest, verified against the digest.
        report: report on how well the codes keep the labels, verified; {} if there is none.
    """

    def __init__(
        self, client: "AsyncLabelClient", manifest: Manifest, report: dict[str, Any]
    ) -> None:
        super().__init__(manifest)
        self.report = report
        self._client = client
        self._artifact: bytes | None = None
        self._codec: Codec | None = None
        self._index: ViewIndex | None = None
        self._context: ViewContext | None = None
        self._records: ViewRecords | None = None
        self._fingerprints: SampleFingerprints | None = None
        self._control_views: ControlViews | None = None
        self._head: Head | None = None

    async def read_blob(self, ref: BlobRef) -> bytes:
        """See `RemoteLabelSet.read_blob`."""
        return await self._client.read_blob(self, ref)

    def stream(
        self, batches: Iterable[Views], representation: Representation
    ) -> AsyncIterator[DeliveredLabels]:
        """See `AsyncLabelClient.stream`."""
        return self._client.stream(self, batches, representation)

    async def resolve(self, views: Views, missing: MissingViews) -> tuple[Views, NDArray[np.int64]]:
        """See `AsyncLabelClient.resolve`."""
        return await self._client.resolve(self, views, missing)

    async def artifact(self) -> bytes:
        """See `LabelSet.artifact`."""
        if self._artifact is None:
            self._artifact = await self.read_blob(self.manifest.codec)
        return self._artifact

    async def codec(self) -> Codec:
        """See `LabelSet.codec`."""
        if self._codec is None:
            codec = await run_async(open_codec(self.manifest), lambda _: self.artifact())
            if isinstance(codec, LatentCodec) and (head := await self.head()) is not None:
                codec = codec.with_head(head)
            self._codec = codec
        return self._codec

    async def head(self) -> Head | None:
        """See `LabelSet.head`."""
        if self._head is None and self.manifest.head is not None:
            shards = self.manifest.head.shards
            parts = [shard_rows(shard, await self.read_blob(shard.data)) for shard in shards]
            # Its digest is computed in that thread, over what may be a gigabyte.
            self._head = await asyncio.to_thread(open_head, self.manifest, parts)
        return self._head

    async def use_head(self, head: Head) -> None:
        """See `LabelSet.use_head`."""
        self._head, self._codec = await asyncio.to_thread(named_head, self.manifest, head), None

    async def index(self) -> ViewIndex:
        """See `LabelSet.index`."""
        if self._index is None:
            self._index = await run_async(open_index(self.manifest), self.read_blob)
        return self._index

    async def stored_views(self) -> StoredViews:
        """See `LabelSet.stored_views`."""
        return StoredViews(await self.index())

    async def context(self) -> ViewContext | None:
        """See `LabelSet.context`."""
        if self._context is None and self.contract.context is not None:
            opening = open_context(self.manifest, await self.index())
            self._context = await run_async(opening, self.read_blob)
        return self._context

    async def records(self) -> ViewRecords | None:
        """See `LabelSet.records`."""
        if self._records is None and self.has_records:
            opening = open_records(self.manifest, await self.index())
            self._records = await run_async(opening, self.read_blob)
        return self._records

    async def fingerprints(self) -> SampleFingerprints | None:
        """As `LabelSet.fingerprints`."""
        check_not_for_sites(self.manifest)
        if self._fingerprints is None and self.manifest.fingerprints is not None:
            opening = open_fingerprints(self.manifest, await self.index())
            self._fingerprints = await run_async(opening, self.read_blob)
        return self._fingerprints

    async def control_views(self) -> ControlViews | None:
        """As `LabelSet.control_views`."""
        if self._control_views is None and self.manifest.has_control_views:
            opening = open_control_views(self.manifest, await self.index())
            self._control_views = await run_async(opening, self.read_blob)
        return self._control_views

    async def fingerprints_from(self, path: Path | str) -> SampleFingerprints:
        """See `LabelSet.fingerprints_from`."""
        sites = for_sites(await run_async(open_sites(self.manifest), self.read_blob))
        return sites.of(await asyncio.to_thread(read_site_file, path), str(path))

    async def decoder(self) -> LabelDecoder:
        """See `LabelSet.decoder`."""
        return LabelDecoder(await self.codec(), await self.context())

    async def sequence_plan(
        self,
        sample_ids: range | ArrayLike | None = None,
        *,
        epochs: int,
        order_key: int | None = 0,
        rank: int = 0,
        num_ranks: int = 1,
        padding: Padding = Padding.REPEAT,
    ) -> SequencePlan:
        """See `LabelSet.sequence_plan`."""
        index, stored = await self.index(), await self.stored_views()
        return await asyncio.to_thread(
            lambda: SequencePlan(
                index.labelled_sample_ids() if sample_ids is None else sample_ids,
                stored,
                epochs=epochs,
                order_key=order_key,
                rank=rank,
                num_ranks=num_ranks,
                padding=padding,
            )
        )

    async def stage_views(self, stage: int, *, new: bool = False) -> Views:
        """See `LabelSet.stage_views`."""
        return stage_views(self.manifest.stages, await self.index(), stage, new=new)

    async def stage_grid(self, stage: int, *, new: bool = False) -> StageGrid:
        """See `LabelSet.stage_grid`."""
        return stage_grid(self.manifest.stages, await self.index(), stage, new=new)
