"""Whether what a model gives by itself are logits, and of the tokens that follow.

Where a head makes them of states, the model's code is known to do what it should; of logits that a
module gives in its own way, it is not.
"""

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError
from labelcast_producers.relabel.language.labelling import log_probabilities_at
from labelcast_producers.relabel.language.text.sequences import Tokens

# Above 1, for rounding; below, where columns that no token has are cut off.
_MOST = 1.01
# A teacher calls the next token likelier than the one that it has just seen, by some nats.
_STANDARD_ERRORS = 4.0
_LEAST_TOKENS = 16
# Log-probabilities of tokens that a model excludes.
_LEAST = -50.0


def check_own_logits(logits: NDArray[np.float32], tokens: Tokens, name: str) -> None:
    """Refuse probabilities, and predictions that come a place late.

    Args:
        logits: float32, shape (n, V): what the model gives after each of `tokens`.
        tokens: uint32, shape (n,).
        name: name of the model.

    Raises:
        InvalidRequestError: they are no logits of what follows.
    """
    totals = logits.sum(axis=1, dtype=np.float64)
    if (logits >= 0).all() and (totals <= _MOST).all():
        raise InvalidRequestError(
            f"the model {name} gives probabilities, not logits: none is negative, and no row adds"
            " up to more than 1; let it return logits, or the logarithm of these"
        )
    ids = np.stack([tokens[:-1], tokens[1:]], axis=1).astype(np.int64)
    told = np.maximum(log_probabilities_at(logits[:-1], ids, 1.0), _LEAST)
    late = (told[:, 0] - told[:, 1]).astype(np.float64)
    if len(late) < _LEAST_TOKENS:
        return
    if late.mean() > _STANDARD_ERRORS * late.std() / len(late) ** 0.5 and late.mean() > 0:
        raise InvalidRequestError(
            f"the model {name} calls the token that it has just seen likelier than the one that"
            f" follows, by {late.mean():.2g} nats: its logits come a place late; let it return"
            " after each token the prediction of the next"
        )
