"""What a store needs done now and then, whether or not anybody pushes."""

import asyncio
import logging
import time

from labelcast.errors import LabelcastError
from labelcast_server.store.base import Store

EVERY_SECONDS = 15.0

logger = logging.getLogger("labelcast_server.store")


async def keep_up(store: Store, *, every_seconds: float = EVERY_SECONDS) -> None:
    """Drop expired uploads and let the store tend its disk, until cancelled.

    Args:
        store: what to look after.
        every_seconds: pause between two looks.
    """
    while True:
        try:
            await store.tend()
            await store.sweep(time.time())
        except (LabelcastError, OSError) as error:
            # It is tried again soon, and whoever needs the store meanwhile is told.
            logger.debug("the store could not be looked after: %s", error)
        await asyncio.sleep(every_seconds)
