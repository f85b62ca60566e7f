"""Views of a request ⇄ messages."""

import numpy as np

from labelcast.errors import InvalidRequestError
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import MAX_SEED, Views
from labelcast.wire.columns import column_to_proto, read_column

MAX_VIEWS_PER_REQUEST = 2**20


def views_to_proto(views: Views) -> pb.Views:
    """Columns of a request."""
    return pb.Views(
        count=len(views),
        sample_ids=column_to_proto(views.sample_ids),
        seeds=column_to_proto(views.seeds),
    )


class AskedViews:
    """The views of a request, expanded when needed.

    A request of a hundred bytes may ask for a million of them.

    Args:
        message: columns of a request.

    Raises:
        InvalidRequestError: no views, too many, or malformed columns.
    """

    most_rows = MAX_VIEWS_PER_REQUEST
    """Rows to expand at once."""

    def __init__(self, message: pb.Views) -> None:
        count = message.count
        if not 1 <= count <= MAX_VIEWS_PER_REQUEST:
            raise InvalidRequestError(
                f"a request asks for 1 to {MAX_VIEWS_PER_REQUEST} views, got {count}"
            )
        self.num_bytes = len(message.sample_ids.data) + len(message.seeds.data)
        """Memory that the columns take as they came."""
        self._ids = read_column(message.sample_ids, count, "sample_ids")
        self._seeds = read_column(message.seeds, count, "seeds")
        if int(self._seeds.max()) > MAX_SEED:
            raise InvalidRequestError(f"an augmentation seed must be at most {MAX_SEED}")

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, rows: slice) -> Views:
        return Views(self._ids[rows].astype(np.uint64), self._seeds[rows].astype(np.uint32))


def views_from_proto(message: pb.Views) -> Views:
    """Read the columns of a request whole.

    Raises:
        InvalidRequestError: no views, too many, or malformed columns.
    """
    return AskedViews(message)[:]
