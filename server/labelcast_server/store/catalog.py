"""The contract of every catalog: all label sets, their states and their tags."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum

from labelcast.errors import LabelSetNotFoundError
from labelcast.identifiers import Digest, Tag, is_digest, is_tag


class State(StrEnum):
    """State of a label set; `labelcast_server.registry.life_cycle` owns the transitions."""

    STAGED = "staged"
    PUBLISHED = "published"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class LabelSetRecord:
    """A label set as the store keeps it."""

    digest: Digest
    manifest: bytes
    state: State
    created_at: float


class Catalog(ABC):
    """Durable storage of label set records and tags.

    Every implementation MUST:
      * raise `StoreUnavailableError` when the backend cannot be reached, `StoreFullError` when it
        refuses for lack of memory or disk, and never a foreign exception, nor a message with an
        address's credentials in it;
      * apply `transition` atomically, so that of two racing callers one fails;
      * survive concurrent use from many tasks of one event loop.
    """

    # Label sets and tags

    @abstractmethod
    async def put_label_set(self, record: LabelSetRecord) -> None:
        """Record a label set; a second put of the same digest changes nothing."""

    @abstractmethod
    async def label_set(self, digest: Digest) -> LabelSetRecord:
        """Look up one label set.

        Raises:
            LabelSetNotFoundError: unknown digest.
        """

    @abstractmethod
    async def label_set_state(self, digest: Digest) -> State:
        """State of one label set, without reading its manifest: asked before every answer.

        Raises:
            LabelSetNotFoundError: unknown digest.
        """

    @abstractmethod
    async def label_sets(self) -> list[LabelSetRecord]:
        """List all label sets, oldest first."""

    @abstractmethod
    async def transition(
        self, digest: Digest, *, expected: State, new: State, tag: Tag | None = None
    ) -> None:
        """Atomically move a label set from one state to another.

        With `tag`, that tag points to the label set from then on. With `new` = RETIRED, every tag
        that pointed to it is removed. Returns only when this write and all earlier ones are as
        durable as the backend can make them (replicas included).

        Raises:
            LabelSetNotFoundError: unknown digest.
            TransitionError: its state is not `expected`.
        """

    @abstractmethod
    async def tags(self) -> dict[Tag, Digest]:
        """Tag → digest."""

    @abstractmethod
    def changes(self) -> AsyncGenerator[Digest | None, None]:
        """Label sets whose state changes, by whomever, soon after it did.

        Yields:
            None first, once changes are being watched: what was read before may be old. Then a
            digest for each change.

        Raises:
            StorageError: they can no longer be watched.
        """

    async def resolve(self, reference: str) -> Digest:
        """Tag or digest → digest, which need not be that of a label set.

        Raises:
            LabelSetNotFoundError: it is neither.
        """
        if is_digest(reference):
            return reference
        tags = await self.tags()
        if not is_tag(reference) or reference not in tags:
            raise LabelSetNotFoundError(
                f"no label set has the tag {reference[:80]!r}; list the tags or push one",
                label_set=reference[:80],
            )
        return tags[reference]
