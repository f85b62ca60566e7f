"""The watch over the first labels: how likely do they call the text's own next token?

`labelcast.label_set.language.next_token` says why, and what a label set records.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from labelcast.codec import Codec, LabelKind, Rows
from labelcast.errors import MisalignedLabelsError
from labelcast.label_set.language.next_token import LEAST_LOG_PROBABILITY, NextTokenFigure
from labelcast.torch.tokens.data.batch import IGNORED, TokenBatch

# Values of decoded labels that exist at once.
_DECODED_BYTES = 2**24
_POSITIONS_OF_A_SAMPLE = 16
_LEAST_SAMPLES = 8
_SAMPLES_TO_WATCH = 256
_DEVIATIONS = 4.0
_MARGIN = 0.1


class NextTokenCanary:
    """Watches the first labels of a run.

    Labels of other positions, texts or vocabularies call the next token far less likely: under
    SmolLM2-135M it has a mean log-probability of −2.8, and −10 to −14 under labels that are shifted
    by one either way, or another text's.

    The bound is four standard errors and 0.1 nats below the recorded mean, with the recorded
    deviation of single positions taken for that of whole samples. Positions of one text resemble
    each other, so that more of them say nothing for sure; samples, which are shuffled, do. Where
    samples have differing shares of the positions, as many count as equal ones would be worth.

    Args:
        recorded: figure of the label set.
    """

    def __init__(self, recorded: NextTokenFigure) -> None:
        self._recorded = recorded
        self._sums: dict[int, float] = {}
        self._counts: dict[int, int] = {}

    @property
    def watching(self) -> bool:
        """Whether it still wants batches."""
        return self._samples < _SAMPLES_TO_WATCH

    def watch(self, batch: TokenBatch, codec: Codec) -> None:
        """Check a batch.

        Args:
            batch: batch.
            codec: codec of its rows, with its head if it needs one.

        Raises:
            MisalignedLabelsError: the next tokens are too unlikely for that to be chance.
            CodecError: the rows cannot be decoded.
        """
        following = batch.next_tokens[batch.counted].cpu().numpy()
        places = _some_of_each(batch.views.sample_ids, following != IGNORED)
        if not len(places):
            return
        rows = batch.labels.rows[torch.from_numpy(places).to(batch.labels.rows.device)]
        found = log_probabilities_of(codec, rows.cpu().numpy(), following[places])
        for sample, value in zip(
            batch.views.sample_ids[places].tolist(), found.tolist(), strict=True
        ):
            self._sums[sample] = self._sums.get(sample, 0.0) + value
            self._counts[sample] = self._counts.get(sample, 0) + 1
        self._require_likely()

    @property
    def _samples(self) -> float:
        """How many samples with equally many positions the watched ones are worth (Kish)."""
        counts = np.array([*self._counts.values(), 0], dtype=np.float64)
        return float(counts.sum() ** 2 / max(1.0, (counts**2).sum()))

    def _require_likely(self) -> None:
        samples, positions = self._samples, sum(self._counts.values())
        if samples < _LEAST_SAMPLES:
            return
        observed, expected = sum(self._sums.values()) / positions, self._recorded.mean
        least = expected - _MARGIN - _DEVIATIONS * self._recorded.deviation / samples**0.5
        if observed < least:
            raise MisalignedLabelsError(
                f"over the first {positions} labels the text's next token has a mean"
                f" log-probability of {observed:.2f}, {expected:.2f} when the set was made. The"
                " labels do not belong to these positions: check tokenizer, sample IDs, mask and"
                " how labels are joined with tokens",
                observed=observed,
                expected=expected,
            )


def log_probabilities_of(
    codec: Codec, rows: Rows, tokens: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log-probability of one token under each label, a few labels decoded at a time.

    Args:
        codec: codec of the rows.
        rows: uint8, shape (N, stride).
        tokens: int64, shape (N,), each below V.

    Returns:
        float64, shape (N,), at least `LEAST_LOG_PROBABILITY`.
    """
    found = np.empty(len(rows), dtype=np.float64)
    step = max(1, _DECODED_BYTES // (4 * codec.header.num_classes))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        labels = codec.decode(rows[part])
        own = labels[np.arange(len(labels)), tokens[part]].astype(np.float64)
        if codec.header.label_kind is LabelKind.LOGITS:
            highest = labels.max(axis=1)
            labels -= highest[:, None]
            found[part] = own - highest - np.log(np.exp(labels).sum(axis=1, dtype=np.float64))
        else:
            total = labels.sum(axis=1, dtype=np.float64)
            with np.errstate(divide="ignore"):
                found[part] = np.log(own / total)
    return np.maximum(found, LEAST_LOG_PROBABILITY)


def _some_of_each(sample_ids: NDArray[np.uint64], usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Places of a few usable rows of each sample, spread over all of its own."""
    chosen = []
    for sample in np.unique(sample_ids[usable]):
        places = np.flatnonzero((sample_ids == sample) & usable)
        step = -(-len(places) // _POSITIONS_OF_A_SAMPLE)
        chosen.append(places[::step])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)
