"""Mixing by batches, as if whole batches were mixed, though any view can be drawn alone.

Under each seed the samples of the data set are put in a random order and cut into batches; the last
may be smaller. A batch shares one draw of λ and box, and its samples exchange partners by a random
permutation. All of it is a function of (key, seed, number of samples, batch size): what is
remembered between calls only saves drawing it again.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation.seeded.philox import philox

# The last words of the counters keep these draws apart from those of records and permutations.
_ORDER_WORD, _BATCH_WORD = 0xFFFFFFFE, 0xFFFFFFFD
_REMEMBERED_BYTES = 2**26

Positions = NDArray[np.int64]
# Of each sample: its place in the order of the seed, and its partner's position in the table.
_Order = tuple[NDArray[Any], NDArray[Any]]


def batch_mixes(
    positions: Positions, seeds: NDArray[np.uint32], *, samples: int, batch: int, key: int
) -> tuple[Positions, NDArray[np.uint32]]:
    """Draw what each view gets from its batch.

    Args:
        positions: int64, shape (N,): positions of the samples in the data set's table.
        seeds: uint32, shape (N,).
        samples: size of that table.
        batch: samples per batch, at least 1.
        key: key of the policy.

    Returns:
        Positions of the partners, int64, shape (N,); and four random words that a batch shares,
        uint32, shape (4, N).
    """
    partners, places = np.empty_like(positions), np.empty_like(positions)
    remembered = _remembered(samples, batch, key)
    for seed in np.unique(seeds):
        chosen = seeds == seed
        place, partner = remembered(int(seed))
        places[chosen], partners[chosen] = place[positions[chosen]], partner[positions[chosen]]
    numbers = places // batch
    words = philox((*_halves(numbers), seeds, np.full_like(seeds, _BATCH_WORD)), key)
    return partners, words


def sample_order(samples: int, *, seed: int, key: int) -> Positions:
    """Positions of all samples in the order that the batches of a seed are cut from.

    Args:
        samples: size of the data set's table.
        seed: below 2**32.
        key: key of the policy.

    Returns:
        int64, shape (samples,): every position once.
    """
    return _ranked(_order_words(samples, seed, key)[0:2])


def _draw_order(samples: int, batch: int, key: int, seed: int) -> _Order:
    words = _order_words(samples, seed, key)
    order = _ranked(words[0:2])
    # Within a batch, second ranks say who shows whom; the sort is stable, so batches stay together.
    shuffled = _ranked(words[2:4])
    shuffled = shuffled[np.argsort(shuffled // batch, kind="stable")]
    narrow = np.int32 if samples < 2**31 else np.int64
    place, partner = np.empty(samples, dtype=narrow), np.empty(samples, dtype=narrow)
    place[order] = np.arange(samples)
    partner[order] = order[shuffled]
    return place, partner


def _order_words(samples: int, seed: int, key: int) -> NDArray[np.uint32]:
    low, high = _halves(np.arange(samples))
    counter = (low, high, np.full_like(low, seed), np.full_like(low, _ORDER_WORD))
    return philox(counter, key)


def _ranked(words: NDArray[np.uint32]) -> Positions:
    ranks = (words[0].astype(np.uint64) << np.uint64(32)) | words[1]
    return np.argsort(ranks, kind="stable").astype(np.int64)


def _halves(numbers: Positions) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    return (numbers & 0xFFFFFFFF).astype(np.uint32), (numbers >> 32).astype(np.uint32)


# functools' cache is safe between threads and after a fork, where a lock of ours might stay locked.
@lru_cache(maxsize=2)
def _remembered(samples: int, batch: int, key: int) -> Callable[[int], _Order]:
    seeds = max(2, _REMEMBERED_BYTES // (8 * max(samples, 1)))
    return lru_cache(maxsize=seeds)(partial(_draw_order, samples, batch, key))
