"""`Store`: everything the service needs from Redis, without naming Redis."""

from dataclasses import dataclass
from typing import Protocol

from labelcast_server.store.blob_store import BlobStore
from labelcast_server.store.catalog import Catalog


class Connection(Protocol):
    """How a store reaches its backend."""

    async def ping(self) -> None:
        """Return if the backend answers and takes requests.

        Raises:
            StoreUnavailableError: it does not answer, or the connection is closed.
        """
        ...

    async def close(self) -> None:
        """Close the connection; whatever uses it is unusable afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Store:
    """One backend that keeps both blobs and their catalog.

    Attributes:
        blobs: bytes under their digests.
        catalog: label sets and their tags.
        connection: connection that both share.
    """

    blobs: BlobStore
    catalog: Catalog
    connection: Connection

    async def ping(self) -> None:
        """Return if the backend answers; see `Connection.ping`."""
        await self.connection.ping()

    async def close(self) -> None:
        """Close the connection; see `Connection.close`."""
        await self.connection.close()
