"""One batch of predictions → packed rows, and how likely these call the text's own next token."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Codec, Rows
from labelcast.codec.readout import readout
from labelcast_producers.encoding.tokens.base import Takes, TokenEncoder
from labelcast_producers.encoding.tokens.softmax import temperature_of
from labelcast_producers.relabel.language.first_labels import FirstLabels
from labelcast_producers.relabel.language.teachers.predictions import Predictions

# Logits that are held at once; a few arrays are as large.
_BLOCK_VALUES = 2**22


@dataclass(frozen=True, eq=False, slots=True)
class TokenRows:
    """What is written of a batch.

    Attributes:
        rows: uint8, shape (T, stride).
        next_token: float32, shape (T, 1): log-probability of the next token under the decoded
            label; NaN where a sequence ends.
    """

    rows: Rows
    next_token: NDArray[np.float32]


def encode_batch(
    encoder: TokenEncoder,
    predictions: Predictions,
    *,
    sample_ids: NDArray[np.uint64],
    positions: NDArray[np.uint32],
    following: NDArray[np.int64],
    first: FirstLabels,
) -> TokenRows:
    """Encode the predictions of a batch, some rows at a time.

    Args:
        encoder: takes states or logits; a latent codec has its head.
        predictions: predictions after T tokens.
        sample_ids: uint64, shape (T,).
        positions: uint32, shape (T,).
        following: int64, shape (T,): the token that follows in the text; −1 for none.
        first: watches the first labels of the run.

    Raises:
        LabelValueError: values that cannot be encoded, or an encoder that destroys labels.
    """
    codec = encoder.codec
    rows = np.empty((len(predictions), codec.row_stride), dtype=np.uint8)
    next_token = np.full((len(predictions), 1), np.nan, dtype=np.float32)
    step = max(1, _BLOCK_VALUES // codec.header.num_classes)
    for start in range(0, len(predictions), step):
        part = slice(start, min(start + step, len(predictions)))
        states = predictions.states(part.start, part.stop)
        of_states = encoder.takes is Takes.STATES and states is not None
        logits = None
        if not of_states or not first.done:
            logits = predictions.logits(part.start, part.stop)
        values = states if of_states else logits
        assert values is not None  # noqa: S101  one of the two was made
        rows[part] = encoder.encode(values, sample_ids=sample_ids[part], positions=positions[part])
        wanted = following[part]
        known = wanted >= 0
        if logits is not None and not first.done:
            _compare(codec, rows[part], logits, wanted, first)
        next_token[part][known] = _decoded(codec, rows[part][known], wanted[known, None])
    return TokenRows(rows, next_token)


def _decoded(codec: Codec, rows: Rows, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log-probabilities of tokens under decoded labels, at the labels' own temperature."""
    return readout(codec, rows, temperature_of(codec.header)).log_probabilities_at(ids)


def log_probabilities_at(
    logits: NDArray[np.float32], ids: NDArray[np.int64], temperature: float
) -> NDArray[np.float32]:
    """Log-probabilities of a few tokens under logits: float32, shape (n, m).

    Args:
        logits: float32, shape (n, V); may hold −∞, though not in all of a row.
        ids: int64, shape (n, m).
        temperature: softmax temperature.
    """
    if not len(logits):
        return np.empty(ids.shape, dtype=np.float32)
    largest = logits.max(axis=1, keepdims=True)
    shifted = (logits - largest) / np.float32(temperature)
    total = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(np.take_along_axis(shifted, ids, axis=1) - np.log(total), dtype=np.float32)


def _compare(
    codec: Codec,
    rows: Rows,
    logits: NDArray[np.float32],
    following: NDArray[np.int64],
    first: FirstLabels,
) -> None:
    likeliest = logits.argmax(axis=1)
    ids = np.stack([likeliest, np.where(following >= 0, following, likeliest)], axis=1)
    told = log_probabilities_at(logits, ids, temperature_of(codec.header))
    first.next_token.add(told[following >= 0, 1])
    exact = np.exp(told.astype(np.float64))
    decoded = np.exp(_decoded(codec, rows, ids).astype(np.float64))
    first.add(exact.reshape(-1), decoded.reshape(-1), len(rows))
