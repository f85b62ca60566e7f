"""Workers that share a run must be about to do the same."""

import torch

from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast_producers.fitting.parallel import Workers


def expect_same_settings(workers: Workers, settings: Digest) -> None:
    """Refuse workers that differ in what decides the labels; all of them must call it.

    Args:
        workers: processes that share the work.
        settings: digest of everything that decides the labels, as this process sees it.

    Raises:
        InvalidRequestError: another process has another digest.
    """
    own = torch.frombuffer(bytearray(settings.encode()), dtype=torch.uint8)
    first = own.clone()
    workers.broadcast_([first])
    if workers.any(not torch.equal(own, first)):
        raise InvalidRequestError(
            "the processes hold different teachers, data sets or settings; a teacher's weights must"
            " be loaded, not drawn"
        )
