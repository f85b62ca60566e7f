"""From a reference to a label set that may be served."""

from labelcast.errors import LabelSetNotFoundError, LabelSetRetiredError
from labelcast.identifiers import Digest
from labelcast_server.store.catalog import Catalog, State


async def resolve_readable(catalog: Catalog, reference: str) -> Digest:
    """Tag or digest → digest of a label set that may be read.

    Raises:
        LabelSetNotFoundError: it names none, or one that is not published yet.
        LabelSetRetiredError: the label set is retired.
    """
    digest = await catalog.resolve(reference)
    state = await catalog.label_set_state(digest)
    if state is State.RETIRED:
        raise LabelSetRetiredError(
            f"label set {digest} is retired; publish it again or use its successor",
            label_set=digest,
        )
    if state is not State.PUBLISHED:
        raise LabelSetNotFoundError(
            f"label set {digest} is not published; publish it under a tag", label_set=digest
        )
    return digest
