"""The life cycle of a label set.

    put ─▶ STAGED ── publish ─▶ PUBLISHED ── retire ─▶ RETIRED
              └──────── retire ──────────────────────────▲  │
                           PUBLISHED ◀── publish ───────────┘

A staged set is complete and validated, but not readable yet. A published set can be read by its
tags and its digest. A retired set keeps its bytes and its digest, but loses its tags and cannot be
read; publishing it again makes it readable again.
"""

import time

from labelcast.errors import TransitionError
from labelcast.identifiers import Digest, Tag
from labelcast_server.store.catalog import Catalog, LabelSetRecord, State

TRANSITIONS: dict[tuple[State, State], str] = {
    (State.STAGED, State.PUBLISHED): "publish",
    (State.PUBLISHED, State.PUBLISHED): "publish",
    (State.RETIRED, State.PUBLISHED): "publish",
    (State.STAGED, State.RETIRED): "retire",
    (State.PUBLISHED, State.RETIRED): "retire",
}


class LabelSets:
    """All label sets and their states.

    Args:
        catalog: where they are stored.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def stage(self, digest: Digest, manifest: bytes) -> LabelSetRecord:
        """Record a validated label set; staging one that is known changes nothing.

        Args:
            digest: of the manifest.
            manifest: canonical JSON.
        """
        record = LabelSetRecord(digest, manifest, State.STAGED, time.time())
        await self._catalog.put_label_set(record)
        return await self._catalog.label_set(digest)

    async def publish(self, digest: Digest, tag: Tag) -> None:
        """Make a label set readable under a tag; a tag that points elsewhere moves.

        Raises:
            LabelSetNotFoundError: unknown digest.
            TransitionError: another caller changed its state meanwhile.
        """
        await self._move(digest, State.PUBLISHED, tag)

    async def retire(self, digest: Digest) -> None:
        """Stop serving a label set and remove all its tags.

        Raises:
            LabelSetNotFoundError: unknown digest.
            TransitionError: it is retired already.
        """
        await self._move(digest, State.RETIRED, None)

    async def _move(self, digest: Digest, new: State, tag: Tag | None) -> None:
        record = await self._catalog.label_set(digest)
        if (record.state, new) not in TRANSITIONS:
            raise TransitionError(
                f"label set {digest} is {record.state} and cannot become {new}",
                state=record.state,
            )
        await self._catalog.transition(digest, expected=record.state, new=new, tag=tag)
