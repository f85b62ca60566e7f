"""`Store`: what the service needs from Redis, and nothing that is Redis."""

from abc import abstractmethod

from labelcast_server.store.blobs import BlobStore
from labelcast_server.store.catalog import Catalog


class Store(BlobStore, Catalog):
    """One backend that keeps both blobs and their catalog."""

    @abstractmethod
    async def ping(self) -> None:
        """Return if the backend answers and takes requests."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections; the store is unusable afterwards."""
