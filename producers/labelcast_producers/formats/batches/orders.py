"""Which sample is at which place: drawn again from the sampler's seed, or read from a file.

Rules:
  * SRe2L's files name no samples. Its sampler permutes the sorted list of images with one generator
    for all epochs. Newer torch draws a second permutation when an epoch's iterator is used up, and
    uses nothing of it; older torch does not. The two agree in epoch 0 and in no other;
  * the orders drawn here do not depend on the installed torch: only `randperm` is used.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelcast.errors import LabelFileError
from labelcast_producers.formats.source import PermutationDraws
from labelcast_producers.torchfile import read_torch_file

_MOST_JSON_BYTES = 2**30
# One entry of the dictionary. No nesting matches it, so garbage of any depth ends at once.
_ENTRY = re.compile(rb'\s*"(0|[1-9][0-9]{0,8})"\s*:\s*\[([0-9,\s]*)\]\s*')
_EMPTY = re.compile(rb"\s*\{\s*\}\s*")
_MOST_DIGITS = 18

Orders = Mapping[int, NDArray[np.int64]]


def sampler_orders(
    num_samples: int, draws: PermutationDraws, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Draw the orders of torch's RandomSampler, epoch by epoch, without end.

    Args:
        num_samples: number of samples in the data set.
        draws: permutations per epoch; AUTO is TWO, as in every recent torch.
        seed: seed of the generator.

    Yields:
        int64, shape (num_samples,): positions in the sorted list of images.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        order: NDArray[np.int64] = torch.randperm(num_samples, generator=generator).numpy()
        yield order
        if draws is not PermutationDraws.ONE:
            torch.randperm(num_samples, generator=generator)


def read_orders(path: Path) -> Orders:
    """Read the list of sample IDs beside the batches.

    Args:
        path: `.json`: {"0": [IDs …], …}; or the same dictionary saved by torch.

    Returns:
        int64 sample IDs by epoch or batch number.

    Raises:
        LabelFileError: it is missing, too large, or not such a dictionary.
    """
    if path.suffix == ".json":
        return _read_json(path)
    value = read_torch_file(path)
    if not isinstance(value, dict) or not value:
        raise _malformed(path, "it holds no dictionary of epochs")
    orders: dict[int, NDArray[np.int64]] = {}
    for key, listed in value.items():
        number = _number(key)
        if number is None or number in orders:
            raise _malformed(path, f"{str(key)[:40]!r} is no epoch, or is there twice")
        try:
            orders[number] = _flat(listed)
        except ValueError:
            raise _malformed(path, f"epoch {number} is no list of sample IDs") from None
    return orders


def _read_json(path: Path) -> Orders:
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise _malformed(path, f"it has more than {_MOST_JSON_BYTES} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise LabelFileError(f"cannot read {path}: {error.strerror}", path=path) from None
    # Not with `json`: it takes gigabytes for the lists of a large run, and recurses into nested
    # ones.
    orders: dict[int, NDArray[np.int64]] = {}
    if _EMPTY.fullmatch(content):
        raise _malformed(path, "it is empty")
    at = len(content) - len(content.lstrip())
    expected = b"{"
    while True:
        if content[at : at + 1] != expected:
            if expected == b"," and content[at:].strip() == b"}":
                return orders
            raise _malformed(path, f"byte {at} is not what such a file has there")
        entry = _ENTRY.match(content, at + 1)
        if entry is None or int(entry[1]) in orders:
            raise _malformed(path, f"byte {at + 1} begins no list of sample IDs, or one twice")
        try:
            orders[int(entry[1])] = _numbers(entry[2])
        except ValueError:
            raise _malformed(path, f"the list of {entry[1].decode()} is malformed") from None
        at, expected = entry.end(), b","


def _numbers(text: bytes) -> NDArray[np.int64]:
    if not text.strip():
        return np.zeros(0, dtype=np.int64)
    digits = [number.strip() for number in text.split(b",")]
    if max(map(len, digits)) > _MOST_DIGITS:
        raise ValueError("a number is too large")
    numbers: NDArray[np.int64] = np.array([int(number) for number in digits], dtype=np.int64)
    return numbers


def _number(key: object) -> int | None:
    if type(key) is int and 0 <= key < 10**9:
        return key
    if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10:
        return int(key)
    return None


def _flat(listed: Any, depth: int = 0) -> NDArray[np.int64]:
    """Flatten the sample IDs of an epoch, whether in one list or in one for each batch."""
    values: NDArray[np.int64]
    if isinstance(listed, np.ndarray) and listed.ndim == 1 and listed.dtype.kind in "iu":
        values = listed.astype(np.int64)
    elif not isinstance(listed, list | tuple):
        raise ValueError("not a list")
    elif all(isinstance(item, int | np.integer) and type(item) is not bool for item in listed):
        if any(not 0 <= item < 2**63 for item in listed):
            raise ValueError("out of range")
        values = np.array(listed, dtype=np.int64)
    elif depth == 0:
        values = np.concatenate([_flat(item, depth + 1) for item in listed])
    else:
        raise ValueError("too deep")
    if (values < 0).any():
        raise ValueError("negative")
    return values


def _malformed(path: Path, what: str) -> LabelFileError:
    return LabelFileError(
        f"{path} should map numbers to lists of sample IDs, but {what}; fetch or write it again",
        path=path,
    )
