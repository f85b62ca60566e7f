"""A causal language model as a teacher: what its head is applied to, proven by its own logits.

The state is taken from where it enters the head, so that whatever comes before it (a final norm, a
factor) has been applied. The head itself then sees one position of each batch alone: its products
for all tokens of a batch would be by far the largest array of the run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelcast.codec.latent import Head
from labelcast.errors import InvalidRequestError, LabelValueError
from labelcast.torch.tokens.heads.model_head import head_of
from labelcast_producers.relabel.language.teachers.model import CausalModel
from labelcast_producers.relabel.language.teachers.own_logits import check_own_logits
from labelcast_producers.relabel.language.teachers.predictions import (
    LogitPredictions,
    Predictions,
    StatePredictions,
)
from labelcast_producers.relabel.language.text.sequences import Tokens

# Tokens with which a model is proven: their logits are made of all positions.
_PROVEN_TOKENS = 64
# Relative to the largest logit: what types round away, times a few for sums in another order.
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-4, torch.float16: 2e-2, torch.bfloat16: 4e-2}
# A tokenizer with so much fewer tokens than the model has columns is another one's.
_MOST_PADDING = 1 / 16
_ROUNDED_UP = 128
_OWN_LOGITS = "--own-logits (in Python: own_logits=True)"


class LanguageTeacher:
    """Gives a model's predictions for batches of sequences.

    Args:
        model: model; moved to the device.
        vocabulary: tokens of the tokenizer, V.
        tokenizer: name of the tokenizer, for messages.
        device: torch device.
        own_logits: take the model's logits as they come, all of a batch at once, and no states.
        padding: columns after the last token; None finds out, and refuses unusually many.
    """

    def __init__(
        self,
        model: CausalModel,
        vocabulary: int,
        tokenizer: str,
        *,
        device: torch.device,
        own_logits: bool = False,
        padding: int | None = None,
    ) -> None:
        self._model, self._vocabulary, self._tokenizer = model, vocabulary, tokenizer
        self._device, self._padding = device, padding
        self._module = model.module.to(device).eval()
        self._narrow = True
        self._seen: list[Tensor] = []
        self.head: Head | None = None
        """Its head, without padding; None with its own logits."""
        self.padding = 0
        """Columns of its logits that no token has; known once it is proven."""
        if own_logits:
            return
        if model.head is None:
            raise InvalidRequestError(
                f"the model {model.name} has no lm_head that is a torch.nn.Linear, so that its"
                " states cannot be told; keep probabilities of its logits with a codec such as"
                f" topk:32, and say {_OWN_LOGITS}"
            )
        model.head.register_forward_pre_hook(self._take_state)

    def prove(self, sequence: Tokens) -> None:
        """Compare head and states with the model's own logits, and look whether it sees ahead.

        Args:
            sequence: tokens of the data set, at least two.

        Raises:
            InvalidRequestError: the tokenizer is not the model's, the logits are not what the head
                makes of the states, or no logits of what follows, or predictions depend on tokens
                that come later.
            LabelValueError: NaN or infinity.
        """
        tokens = sequence[:_PROVEN_TOKENS]
        self._narrow = False
        logits = self._logits_of([tokens])[0]
        self._narrow = True
        self._check_vocabulary(logits.shape[1])
        own = logits[:, : self._vocabulary].float().cpu().numpy()
        limit = _limit(own, logits.dtype)
        if self._model.head is not None and self._seen:
            state = self._taken_state(1, len(tokens))[0].float().cpu().numpy()
            self.head = head_of(self._model.head, self._vocabulary, self._model.rule)
            self._check_head(self.head.logits(state), own, limit)
        else:
            check_own_logits(own, tokens, self._model.name)
        part = len(tokens) // 2
        ahead = _largest_gap(self._own_logits(tokens[:part]), own[:part])
        if not ahead <= limit:
            raise InvalidRequestError(
                f"the model {self._model.name} predicts a token from later ones: without these, its"
                f" logits change by {ahead:.3g}; name a causal model without dropout"
            )

    def predict(self, batch: Sequence[Tokens]) -> Predictions:
        """Predictions after every token of some sequences, sequence after sequence.

        Raises:
            InvalidRequestError: the model fails, whatever it raises.
            LabelValueError: a state is not finite, or a logit NaN or +∞.
        """
        if self.head is None:
            given = self._logits_of(batch)
            parts = [
                each[: len(tokens), : self._vocabulary].float().cpu().numpy()
                for each, tokens in zip(given, batch, strict=True)
            ]
            return LogitPredictions(np.concatenate(parts))
        self._logits_of(batch)
        states = self._taken_state(len(batch), max(map(len, batch)))
        rows = [states[at, : len(tokens)].float() for at, tokens in enumerate(batch)]
        return StatePredictions(torch.cat(rows).cpu().numpy(), self.head)

    def _own_logits(self, tokens: Tokens) -> NDArray[np.float32]:
        self._narrow = False
        given = self._logits_of([tokens])[0, :, : self._vocabulary].float().cpu().numpy()
        self._narrow = True
        return given

    @torch.inference_mode()
    def _logits_of(self, batch: Sequence[Tokens]) -> Tensor:
        """What the model gives: shape (B, n, W); n is 1 where its head sees one position."""
        longest = max(map(len, batch))
        # What fills up a sequence comes after it, and a causal model never sees it.
        filled = [np.pad(tokens.astype(np.int64), (0, longest - len(tokens))) for tokens in batch]
        self._seen.clear()
        try:
            given = self._module(torch.from_numpy(np.stack(filled)).to(self._device))
        # A model is anybody's code, and may raise anything.
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise InvalidRequestError(
                f"the model {self._model.name} fails on token IDs of shape {(len(batch), longest)}"
                f" ({type(error).__name__}: {reason}); give it fewer with --batch-tokens, or check"
                " its tokenizer"
            ) from error
        return self._checked(_logits_in(given, self._model.name), len(batch), longest)

    def _checked(self, logits: Tensor, count: int, longest: int) -> Tensor:
        narrow = self._narrow and bool(self._seen)
        if logits.ndim != 3 or logits.shape[:2] != (count, 1 if narrow else longest):
            raise InvalidRequestError(
                f"the model {self._model.name} gives a tensor of shape {tuple(logits.shape)} for"
                f" token IDs of shape {(count, longest)}; wrap it in a torch module that returns"
                " logits of shape (B, n, W)"
            )
        if bool(torch.isnan(logits).any() | (logits == torch.inf).any()):
            raise LabelValueError(
                f"the model {self._model.name} gives NaN or infinity; check its weights, or compute"
                " in another type with --dtype float32"
            )
        return logits

    def _take_state(self, _: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        state = arguments[0]
        self._seen.append(state)
        return (state[:, :1], *arguments[1:]) if self._narrow and state.ndim == 3 else None

    def _taken_state(self, count: int, longest: int) -> Tensor:
        width = None if self._model.head is None else self._model.head.in_features
        shapes = [tuple(state.shape) for state in self._seen]
        if shapes != [(count, longest, width)]:
            raise InvalidRequestError(
                f"the head of the model {self._model.name} is given tensors of shapes {shapes} for"
                f" token IDs of shape {(count, longest)}, not one state for each; keep"
                f" probabilities of its logits with a codec such as topk:32, and say {_OWN_LOGITS}"
            )
        return self._seen[0]

    def _check_vocabulary(self, columns: int) -> None:
        tokens, name = self._vocabulary, self._model.name
        self.padding = columns - tokens
        if self.padding < 0:
            raise InvalidRequestError(
                f"the tokenizer {self._tokenizer} has {tokens} tokens, the model {name} has logits"
                f" of {columns}; give the model's own with --tokenizer"
            )
        usual = max(columns * _MOST_PADDING, _ROUNDED_UP)
        expected = self.padding if self._padding is None else self._padding
        if self.padding != expected or (self._padding is None and self.padding > usual):
            raise InvalidRequestError(
                f"the model {name} has logits of {columns} tokens, the tokenizer {self._tokenizer}"
                f" has {tokens}; give the model's own with --tokenizer, or declare the columns that"
                f" no token has with --padding {self.padding}"
            )

    def _check_head(
        self, made: NDArray[np.float32], own: NDArray[np.float32], limit: float
    ) -> None:
        gap = _largest_gap(made, own)
        if not gap <= limit:
            raise InvalidRequestError(
                f"the logits of the model {self._model.name} are not what its head makes of its"
                f" states: they differ by {gap:.3g}, as after a mask, a factor or a bound that its"
                " configuration does not name; keep probabilities of its own logits with a codec"
                f" such as topk:32, and say {_OWN_LOGITS}"
            )


def _logits_in(given: object, name: str) -> Tensor:
    found = given.get("logits") if isinstance(given, Mapping) else given
    if not isinstance(found, Tensor) or not found.is_floating_point():
        raise InvalidRequestError(
            f"the model {name} gives a {type(given).__name__} without logits; wrap it in a torch"
            " module that returns logits of shape (B, n, W)"
        )
    return found


def _largest_gap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Largest difference; −∞ is equal to itself alone."""
    with np.errstate(invalid="ignore"):
        gaps = np.where(one == other, 0, np.abs(one - other))
    return float(gaps.max(initial=0))


def _limit(logits: NDArray[np.float32], dtype: torch.dtype) -> float:
    finite = np.abs(logits[np.isfinite(logits)])
    return _ROUNDING.get(dtype, 1e-4) * (1 + float(finite.max(initial=0)))
