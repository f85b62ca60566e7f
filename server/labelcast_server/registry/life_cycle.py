"""The life cycle of a label set.

    put ─▶ STAGED ── publish ─▶ PUBLISHED ── retire ─▶ RETIRED
              └──────── retire ──────────────────────────▲  │
                           PUBLISHED ◀── publish ───────────┘

A staged set is complete and validated but has no reader. A published set is found by its tags and
by its digest. A retired set keeps its bytes and its digest, loses its tags and is served to no one;
publishing it again brings it back.
"""

import time

from labelcast.errors import TransitionError
from labelcast.label_set import check_tag
from labelcast_server.store.catalog import Catalog, LabelSetRecord, State

TRANSITIONS: dict[tuple[State, State], str] = {
    (State.STAGED, State.PUBLISHED): "publish",
    (State.PUBLISHED, State.PUBLISHED): "publish",
    (State.RETIRED, State.PUBLISHED): "publish",
    (State.STAGED, State.RETIRED): "retire",
    (State.PUBLISHED, State.RETIRED): "retire",
}


class LabelSets:
    """What label sets there are and where each stands.

    Args:
        catalog: their durable home.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def stage(self, digest: str, manifest: bytes) -> LabelSetRecord:
        """Record a validated label set; staging one that is known changes nothing.

        Args:
            digest: of the manifest.
            manifest: canonical JSON.
        """
        record = LabelSetRecord(digest, manifest, State.STAGED, time.time())
        await self._catalog.put_label_set(record)
        return await self._catalog.label_set(digest)

    async def publish(self, digest: str, tag: str) -> None:
        """Let readers find a label set under a tag; a tag that points elsewhere moves.

        Raises:
            InvalidRequestError: not a tag.
            LabelSetNotFoundError: unknown digest.
            TransitionError: someone else moved the label set meanwhile.
        """
        check_tag(tag)
        await self._move(digest, State.PUBLISHED, tag)

    async def retire(self, digest: str) -> None:
        """Take a label set away from its readers, with all its tags.

        Raises:
            LabelSetNotFoundError: unknown digest.
            TransitionError: it is retired already.
        """
        await self._move(digest, State.RETIRED, None)

    async def _move(self, digest: str, new: State, tag: str | None) -> None:
        record = await self._catalog.label_set(digest)
        if (record.state, new) not in TRANSITIONS:
            raise TransitionError(
                f"label set {digest} is {record.state} and cannot become {new}",
                state=record.state,
            )
        await self._catalog.transition(digest, expected=record.state, new=new, tag=tag)
