"""What the admin API needs of the registry, over one store."""

from dataclasses import dataclass
from typing import Self

from labelcast_server.registry.admission import Admission
from labelcast_server.registry.inspection import Inspection
from labelcast_server.registry.publishing import Publisher
from labelcast_server.registry.uploads import Uploads
from labelcast_server.store.store import Store


@dataclass(frozen=True, slots=True)
class RegistryServices:
    """The write side; each route depends on the one that it uses.

    Attributes:
        admission: whether the store may be given more.
        uploads: takes blobs.
        publisher: records label sets and moves tags.
        inspection: shows them.
    """

    admission: Admission
    uploads: Uploads
    publisher: Publisher
    inspection: Inspection

    @classmethod
    def over(cls, store: Store, *, allow_unsafe_store: bool = False) -> Self:
        """Over one store.

        Args:
            store: durable home.
            allow_unsafe_store: accept a store that could forget what it is given.
        """
        admission = Admission(store.blobs, allow_unsafe_store=allow_unsafe_store)
        return cls(
            admission,
            Uploads(store.blobs, admission),
            Publisher(store, admission),
            Inspection(store),
        )
