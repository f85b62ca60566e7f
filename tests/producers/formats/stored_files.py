"""Files of any producer, read and changed as plain torch would."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def load(path: Path) -> Any:
    """All that a file holds, with the types that its producer gave it."""
    return torch.load(path, weights_only=False)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Save a file again, changed in place."""
    content = load(path)
    change(content)
    torch.save(content, path)


def put(position: int | slice, value: Any) -> Callable[[Any], object]:
    """The change that replaces one item of a list, or some."""
    return lambda record: record.__setitem__(position, value)


def is_tensor(value: Any, dtype: torch.dtype, *shape: int) -> bool:
    """Whether a value is a tensor of exactly this dtype and shape."""
    return isinstance(value, torch.Tensor) and value.dtype == dtype and value.shape == shape
