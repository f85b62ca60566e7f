"""Logits → rows of the `sampled` codec.

How many draws a row holds. Drawing goes on until one class more comes than there are slots; that
last draw is left out. The draws before it may come in any order without ending earlier, so that
each of them is as good as the first: their average is unbiased, as the first draw alone is. (That
is Haldane's inverse sampling, with classes instead of successes.) A limit on the draws changes
nothing about it. Likely classes thus take few slots and many draws.
"""

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation.seeded.philox import philox
from labelcast.codec import CodecHeader, Rows
from labelcast.codec.sparse import SampledCodec
from labelcast.errors import InvalidRequestError
from labelcast_producers.encoding.tokens.base import Positions, SampleIds, Takes, TokenEncoder
from labelcast_producers.encoding.tokens.bf16 import bf16_above
from labelcast_producers.encoding.tokens.softmax import log_ratios, temperature_of

SLOTS = 12
_MOST_DRAWS = 255
# Two numbers a block of Philox, of 53 bits each: those of 32 bits would leave out unlikely classes.
_PER_BLOCK = 2
_ROWS_AT_ONCE = 64


class SampledEncoder(TokenEncoder):
    """Draws tokens; the same ones for the same sample, position and key.

    Args:
        codec: codec of the rows.
        key: 64 bits; another key gives other draws.
        proposal: temperature of the distribution that is drawn from, relative to the label's own; 1
            needs a codec of counts, others one of importance weights.

    Raises:
        InvalidRequestError: a proposal that the codec cannot keep, or a key of more than 64 bits.
    """

    takes = Takes.LOGITS
    codec: SampledCodec

    def __init__(self, codec: SampledCodec, *, key: int = 0, proposal: float = 1.0) -> None:
        super().__init__(codec)
        # Written so that NaN fails.
        if not 0 < proposal < float("inf") or codec.weighted == (proposal == 1):
            raise InvalidRequestError(
                f"a proposal of temperature {proposal} does not go with"
                f" {'weights' if codec.weighted else 'counts'}; take 1 with counts, and others"
                " above 0 with a weighted codec"
            )
        if not 0 <= key < 2**64:
            raise InvalidRequestError(f"a key has 64 bits, not the value {key}")
        self._key = key
        self._proposal = proposal
        self._draws = min(codec.last_level, _MOST_DRAWS) if not codec.weighted else _MOST_DRAWS
        self._weights = codec.weights()

    @classmethod
    def drawing(
        cls, header: CodecHeader, slots: int = SLOTS, *, key: int = 0, proposal: float = 1.0
    ) -> "SampledEncoder":
        """Make an encoder with the codec that a proposal needs."""
        codec = SampledCodec(header, slots, weighted=proposal != 1)
        return cls(codec, key=key, proposal=proposal)

    @property
    def width(self) -> int:
        """Tokens of the vocabulary, V."""
        return self.codec.header.num_classes

    def _encode(
        self, values: NDArray[np.float32], sample_ids: SampleIds, positions: Positions
    ) -> Rows:
        shape = (len(values), self.codec.slots)
        ids, levels = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        scales = np.ones(len(values), dtype=np.float32)
        temperature = temperature_of(self.codec.header)
        for start in range(0, len(values), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            numbers = self._numbers(sample_ids[part], positions[part])
            ratios = log_ratios(values[part], temperature)
            for row, (ratio, drawn) in enumerate(zip(ratios, numbers, strict=True), start):
                ids[row], levels[row], scales[row] = self._row(ratio.astype(np.float64), drawn)
        return self.codec.pack(ids, levels, scales)

    def _numbers(self, sample_ids: SampleIds, positions: Positions) -> NDArray[np.float64]:
        """Numbers from 0 to 1, the latter excluded: shape (n, draws + slots or more)."""
        count = self._draws + self.codec.slots
        blocks = np.arange(-(-count // _PER_BLOCK), dtype=np.uint32)
        low = (sample_ids & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        high = (sample_ids >> np.uint64(32)).astype(np.uint32)
        counter = (low[:, None], high[:, None], positions[:, None], blocks[None])
        words = philox(counter, self._key).astype(np.float64)
        # Whole numbers below 2⁵³, which fp64 holds.
        pairs = words[::2] * 2**21 + np.floor(words[1::2] / 2**11)
        return pairs.transpose(1, 2, 0).reshape(len(low), -1) / 2.0**53

    def _row(
        self, ratios: NDArray[np.float64], numbers: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], np.float32]:
        """IDs and levels of the slots, and their scale."""
        slots = self.codec.slots
        proposed = np.exp(ratios / self._proposal)
        sums = np.cumsum(proposed)
        drawn = np.searchsorted(sums, numbers[: self._draws] * sums[-1], side="right")
        # Rounded up to the whole sum, a number would name none.
        drawn = np.minimum(drawn, np.flatnonzero(proposed)[-1])
        firsts = np.sort(np.unique(drawn, return_index=True)[1])
        kept = drawn if len(firsts) <= slots else drawn[: firsts[slots]]
        ids, counts = np.unique(kept, return_counts=True)
        levels, scale = counts, np.float32(1)
        if self.codec.weighted:
            likelier = np.exp(ratios[ids] * (1 - 1 / self._proposal)) * sums[-1]
            weights = counts / len(kept) * likelier / np.exp(ratios).sum()
            levels, scale = self._rounded(weights, numbers[self._draws :][: len(ids)])
            ids, levels = ids[levels > 0], levels[levels > 0]
        unused = (0, slots - len(ids))
        return np.pad(ids, unused), np.pad(levels, unused), scale

    def _rounded(
        self, weights: NDArray[np.float64], numbers: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], np.float32]:
        """Levels that are the weights on average, and the scale, which covers the largest."""
        scale = bf16_above(weights.max())
        relative = weights / np.float64(scale)
        below = np.searchsorted(self._weights, relative, side="right") - 1
        below = np.minimum(below, self.codec.last_level - 1)
        low, high = self._weights[below], self._weights[below + 1]
        return below + (numbers < (relative - low) / (high - low)), scale
