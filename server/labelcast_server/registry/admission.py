"""Whether the store may be given more: it has room, and could not forget what it is given."""

from labelcast.errors import StoreFullError, StoreUnsafeError
from labelcast_server.store.blob_store import BlobStore, Capacity

# Redis keeps a little beside every chunk, and the append-only file is rewritten now and then.
_STORE_OVERHEAD = 1.05


class Admission:
    """Turns pushes away that cannot succeed, before they begin.

    Args:
        blobs: what is to take them.
        allow_unsafe_store: accept a store that could forget what it is given.
    """

    def __init__(self, blobs: BlobStore, *, allow_unsafe_store: bool = False) -> None:
        self._blobs = blobs
        self._allow_unsafe_store = allow_unsafe_store

    async def check(self, required_bytes: int) -> Capacity:
        """Room and safety of the store, before a push begins.

        Raises:
            StoreFullError: not enough room.
            StoreUnsafeError: the store could forget what it is given.
        """
        problems = [] if self._allow_unsafe_store else await self._blobs.safety_problems()
        if problems:
            raise StoreUnsafeError(
                f"the store could lose labels: {'; '.join(problems)}."
                " Change how Redis is set up, or start the service with --allow-unsafe-store",
            )
        capacity = await self._blobs.capacity()
        needed = int(required_bytes * _STORE_OVERHEAD)
        if capacity.headroom_bytes is not None and needed > capacity.headroom_bytes:
            remedy = "free disk space" if capacity.bound == "disk" else "give it more memory"
            raise StoreFullError(
                f"the push needs {needed} bytes and the store has room for"
                f" {capacity.headroom_bytes} ({capacity.bound}); {remedy}",
                required_bytes=needed,
                headroom_bytes=capacity.headroom_bytes,
            )
        return capacity
