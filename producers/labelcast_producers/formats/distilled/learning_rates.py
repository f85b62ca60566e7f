"""Learning rates that producers store beside distilled sets."""

from pathlib import Path
from typing import Any

import numpy as np

from labelcast.errors import LabelFileError
from labelcast_producers.torchfile import read_torch_file


def learning_rate(path: Path) -> float:
    """Read the only number of a file.

    Raises:
        LabelFileError: it holds something else.
    """
    return one_number(path, read_torch_file(path))


def one_number(path: Path, stored: Any, *, advice: str = "move it away") -> float:
    """Check a learning rate as it was stored.

    Args:
        path: file that holds it, for messages.
        stored: anything.
        advice: what to do with the file; its own may go, as a set needs no learning rate.

    Raises:
        LabelFileError: it is not one finite number.
    """
    value = np.asarray(stored) if isinstance(stored, int | float | np.ndarray | np.number) else None
    if value is None or value.size != 1 or value.dtype.kind not in "fiu":
        raise LabelFileError(f"{path} does not hold one learning rate; {advice}")
    rate = float(value.reshape(()))
    if not np.isfinite(rate):
        raise LabelFileError(f"{path}: the learning rate is {rate}; {advice}")
    return rate
