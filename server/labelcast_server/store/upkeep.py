"""Regular upkeep of a store, whether or not anybody pushes."""

import asyncio
import logging
import time

from labelcast.errors import LabelcastError
from labelcast_server.store.blob_store import BlobStore

TEND_SECONDS = 15.0
# Each sweep looks for the chunks of everything that was dropped within a day.
SWEEP_SECONDS = 600.0

logger = logging.getLogger("labelcast_server.store")


async def keep_up(
    blobs: BlobStore, *, tend_seconds: float = TEND_SECONDS, sweep_seconds: float = SWEEP_SECONDS
) -> None:
    """Drop expired uploads and let the store tend its disk, until cancelled.

    Args:
        blobs: store to look after.
        tend_seconds: pause between two checks of the disk.
        sweep_seconds: pause between two checks of the uploads.
    """
    next_sweep = 0.0
    while True:
        try:
            await blobs.tend()
            if time.monotonic() >= next_sweep:
                await blobs.sweep(time.time())
                next_sweep = time.monotonic() + sweep_seconds
        except (LabelcastError, OSError) as error:
            # It is tried again soon, and a request that needs the store meanwhile gets the error.
            logger.debug("the store could not be looked after: %s", error)
        await asyncio.sleep(tend_seconds)
