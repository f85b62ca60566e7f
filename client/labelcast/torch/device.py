"""Chooses the device and the number of threads."""

import torch

from labelcast.errors import InvalidRequestError


def choose_device(name: str) -> torch.device:
    """Find a torch device by name; "auto" takes a GPU if there is one.

    Raises:
        InvalidRequestError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise InvalidRequestError(
            f"this machine has no torch device {name!r}; use 'cpu', 'cuda' or 'auto'"
        ) from None
    return device


def limit_threads(count: int) -> None:
    """Bound torch's CPU threads in this process."""
    torch.set_num_threads(max(1, count))
