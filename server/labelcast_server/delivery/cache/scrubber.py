"""Re-checks verified chunks for as long as the service runs.

Every worker re-checks the chunks that it has verified. A full round takes `ROUND_SECONDS`, ten
minutes, as long as the checks cost at most `MOST_OF_A_CORE`, one per cent of a core; the pauses
follow from the measured time. On a machine where reading and CRC-32 run at 4 GB/s that was 17 MB a
second (for 1.6 % of a core, with the cost of starting them): ten minutes are enough for 10 GB of
labels in use by one worker, and a round over 100 GB takes an hour and three quarters.

A damaged chunk is therefore delivered for one round at most, until the check finds it, logs it,
counts it and replaces it from the store. Chunks that nobody has read yet are checked at first use.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence

import numpy as np

from labelcast.errors import LabelcastError
from labelcast_server.delivery.cache.chunks import CachedShard, ChunkCache
from labelcast_server.delivery.cache.shard_file import ShardFile

ROUND_SECONDS = 600.0
MOST_OF_A_CORE = 0.01

_CHUNKS_TOGETHER = 16
# A chunk that is verified meanwhile must not wait for the end of a long pause.
_LONGEST_PAUSE_SECONDS = 10.0
# What running something in a thread costs the event loop.
_HOP_SECONDS = 0.0002

logger = logging.getLogger("labelcast_server.scrubber")


class Scrubber:
    """Re-checks one cache.

    Args:
        cache: cache to check; its `counts` show what was found.
        round_seconds: time for all verified chunks, if the share of a core allows it.
        most_of_a_core: fraction of a core that checks may take.

    Attributes:
        rounds: number of complete rounds.
    """

    def __init__(
        self,
        cache: ChunkCache,
        *,
        round_seconds: float = ROUND_SECONDS,
        most_of_a_core: float = MOST_OF_A_CORE,
    ) -> None:
        self._cache = cache
        self._round_seconds = round_seconds
        self._most_of_a_core = most_of_a_core
        self.rounds = 0

    async def run(self) -> None:
        """Scrub until cancelled."""
        while True:
            pause = min(self._round_seconds, _LONGEST_PAUSE_SECONDS)
            for cached in self._cache.shards_with_files():
                per_chunk = self._round_seconds / max(1, self._cache.verified_chunks())
                for file, numbers in _verified(cached):
                    cost = await self._check(cached, file, numbers)
                    pause = min(len(numbers) * per_chunk, _LONGEST_PAUSE_SECONDS)
                    await asyncio.sleep(max(pause, cost / self._most_of_a_core))
            self.rounds += 1
            await asyncio.sleep(pause)

    async def _check(self, cached: CachedShard, file: ShardFile, numbers: Sequence[int]) -> float:
        """Re-check some chunks; returns the core seconds spent."""
        counts = self._cache.counts
        wrong, seconds = await asyncio.to_thread(_timed_check, file, numbers)
        counts.saw("scrubbed", len(numbers))
        counts.saw("scrubbed_damaged", len(wrong))
        if wrong:
            try:
                await self._cache.renew(cached, wrong)
            except (LabelcastError, OSError) as error:
                # They do not count as verified any more: the next read fetches them from the store.
                logger.error("damaged chunks could not be replaced yet: %s", error)  # noqa: TRY400
        return seconds + _HOP_SECONDS


def _timed_check(file: ShardFile, numbers: Sequence[int]) -> tuple[list[int], float]:
    started = time.thread_time()
    return file.check(numbers), time.thread_time() - started


def _verified(cached: CachedShard) -> Iterator[tuple[ShardFile, list[int]]]:
    file = cached.file
    if file is not None:
        numbers: list[int] = np.flatnonzero(file.verified).tolist()
        for start in range(0, len(numbers), _CHUNKS_TOGETHER):
            yield file, numbers[start : start + _CHUNKS_TOGETHER]
