"""A store in memory that remembers what was asked of it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from labelcast.identifiers import Digest
from labelcast_server.store.memory import MemoryBlobs, MemoryCatalog, MemoryConnection
from labelcast_server.store.store import Store


class CountingBlobs(MemoryBlobs):
    """Remembers which chunks it was asked for."""

    def __init__(self) -> None:
        connection = MemoryConnection()
        super().__init__(connection)
        self.store = Store(self, MemoryCatalog(connection), connection)
        self.read: list[tuple[str, int]] = []

    async def read_chunks(self, digest: Digest, numbers: Sequence[int]) -> list[bytes]:
        self.read += [(digest, number) for number in numbers]
        await asyncio.sleep(0)  # other tasks go on here, as with a real backend
        return await super().read_chunks(digest, numbers)

    def chunks(self, digest: Digest) -> list[Any]:
        """The store's own list, to damage."""
        return self._blobs[digest][1]
