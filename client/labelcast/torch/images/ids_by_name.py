"""Sample IDs that follow from the name of an image's file."""

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError


def ids_by_name(paths: Sequence[str]) -> NDArray[np.uint64]:
    """IDs that stay what they are whatever other files there are.

    The first 63 bits of a SHA-256 over the path in normal form C: file systems spell one accented
    letter in two ways, and trainers keep IDs in signed integers.

    Args:
        paths: relative to the root of the data set, with forward slashes.

    Returns:
        uint64, shape (N,), in the order of `paths`.

    Raises:
        InvalidRequestError: two names with one ID; names both.
    """
    names: dict[int, str] = {}
    for path in paths:
        sample_id = _id_of(path)
        if sample_id in names:
            raise InvalidRequestError(
                f"{names[sample_id]!r} and {path!r} have one sample ID by name; rename one, or"
                " take IDs by position"
            )
        names[sample_id] = path
    return np.fromiter(names, dtype=np.uint64, count=len(names))


def _id_of(path: str) -> int:
    # Names of files need not be text.
    name = unicodedata.normalize("NFC", path).encode(errors="surrogateescape")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1
