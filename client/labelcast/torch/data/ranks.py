"""Which rank of how many a loader belongs to, beside what torch.distributed says."""

import torch.distributed as dist

from labelcast.errors import InvalidRequestError


def agreed_ranks(rank: int | None, num_ranks: int | None) -> tuple[int, int]:
    """Rank and number of ranks of this process.

    Nothing is taken from torch.distributed: ranks that share a model see the same data, and only
    their program knows. But what it says is compared: a loader that nobody told of the other ranks
    would give every rank the whole epoch, and one rank given twice half of it to nobody.

    Args:
        rank: which rank this is, None for the only one.
        num_ranks: of how many, None for one.

    Raises:
        InvalidRequestError: only one of them was given, or torch.distributed says otherwise.
    """
    if (rank is None) != (num_ranks is None):
        raise InvalidRequestError("give rank= and num_ranks= together", field="rank")
    running = dist.is_available() and dist.is_initialized()
    world, own = (dist.get_world_size(), dist.get_rank()) if running else (1, 0)
    if rank is None or num_ranks is None:
        if world > 1:
            raise InvalidRequestError(
                f"torch.distributed says that this is rank {own} of {world}, and the loader was"
                " told of no others; give rank= and num_ranks=, or rank=0 and num_ranks=1 if every"
                " rank shall see all samples",
                field="rank",
            )
        return 0, 1
    if num_ranks == world and rank != own:
        raise InvalidRequestError(
            f"torch.distributed says that this is rank {own} of {world}, and the loader was told"
            f" rank={rank}; give rank=torch.distributed.get_rank()",
            field="rank",
        )
    return rank, num_ranks
