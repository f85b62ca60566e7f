"""From a reference to a label set that may be served."""

import asyncio
import contextlib
import logging
import time

from labelcast.errors import LabelSetNotFoundError, LabelSetRetiredError, StorageError
from labelcast.identifiers import Digest, is_digest
from labelcast_server.store.catalog import Catalog, State

# A message about a change may be lost with its connection before anybody notices.
_TRUST_SECONDS = 5.0
_PAUSE_SECONDS = 1.0

logger = logging.getLogger(__name__)


class ReadableLabelSets:
    """Which label sets may be read, asked of the catalog once and not again at every call.

    Rules:
      * only what is readable is remembered, for seconds, and only while changes are being watched;
      * a change that is heard of while the catalog was being asked makes its answer count for
        nothing more than the call that asked.

    Args:
        catalog: says which label sets there are.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        # Digest → until when it is trusted to be readable; None while nobody watches.
        self._readable: dict[Digest, float] | None = None
        self._heard = 0

    async def resolve(self, reference: str) -> Digest:
        """Tag or digest → digest of a label set that may be read.

        Raises:
            LabelSetNotFoundError: it names none, or one that is not published yet.
            LabelSetRetiredError: the label set is retired.
        """
        known = self._readable or {}
        if is_digest(reference) and known.get(reference, 0.0) > time.monotonic():
            return reference
        heard = self._heard
        digest = await resolve_readable(self._catalog, reference)
        if self._readable is not None and heard == self._heard:
            self._readable[digest] = time.monotonic() + _TRUST_SECONDS
        return digest

    async def watch(self) -> None:
        """Hear of changes until cancelled."""
        while True:
            try:
                async with contextlib.aclosing(self._catalog.changes()) as changes:
                    async for digest in changes:
                        self._heard += 1
                        if digest is None or self._readable is None:
                            self._readable = {}
                        else:
                            self._readable.pop(digest, None)
            except StorageError as error:
                logger.debug("the store is asked at every call: %s", error)
            finally:
                self._readable = None
            await asyncio.sleep(_PAUSE_SECONDS)


async def resolve_readable(catalog: Catalog, reference: str) -> Digest:
    """Ask the catalog; see `ReadableLabelSets.resolve`."""
    digest = await catalog.resolve(reference)
    state = await catalog.label_set_state(digest)
    if state is State.RETIRED:
        raise LabelSetRetiredError(
            f"label set {digest} is retired; publish it again or use its successor",
            label_set=digest,
        )
    if state is not State.PUBLISHED:
        raise LabelSetNotFoundError(
            f"label set {digest} is not published; publish it under a tag", label_set=digest
        )
    return digest
