"""`Store`: what the service needs from Redis, and nothing that is Redis."""

from dataclasses import dataclass
from typing import Protocol

from labelcast_server.store.blob_store import BlobStore
from labelcast_server.store.catalog import Catalog


class Connection(Protocol):
    """How a store reaches its backend."""

    async def ping(self) -> None:
        """Return if the backend answers and takes requests.

        Raises:
            StoreUnavailableError: it does not, or the connection is closed.
        """
        ...

    async def close(self) -> None:
        """Release what is held; whatever uses the connection is unusable afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Store:
    """One backend that keeps both blobs and their catalog.

    Attributes:
        blobs: bytes under their digests.
        catalog: which label sets there are.
        connection: shared by both.
    """

    blobs: BlobStore
    catalog: Catalog
    connection: Connection

    async def ping(self) -> None:
        """Return if the backend answers; as `Connection.ping`."""
        await self.connection.ping()

    async def close(self) -> None:
        """Release the connection; as `Connection.close`."""
        await self.connection.close()
