"""Logits that a module gives in its own way are looked at before the first label."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelcast.errors import InvalidRequestError
from labelcast_producers.relabel.language.teachers.own_logits import check_own_logits
from tests.factories.language_models import Recurrent, label

V, T = 90, 48
RNG = np.random.default_rng(2)
TOKENS = RNG.integers(0, V, T).astype(np.uint32)


def sure_of(tokens: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Logits that call one token after another likelier than others, by 4 nats on average."""
    logits = RNG.normal(size=(len(tokens), V)).astype(np.float32)
    logits[np.arange(len(tokens)), tokens] += 4
    return logits


def test_predictions_that_come_a_place_late_are_refused() -> None:
    following = np.append(TOKENS[1:], 0).astype(np.uint32)
    check_own_logits(sure_of(following), TOKENS, "right")
    with pytest.raises(InvalidRequestError, match="let it return after each token the prediction"):
        check_own_logits(sure_of(TOKENS), TOKENS, "late")
    # Nobody can tell of a guess, of a few tokens, or where some are excluded.
    check_own_logits(RNG.normal(size=(T, V)).astype(np.float32), TOKENS, "guessing")
    check_own_logits(sure_of(TOKENS)[:9], TOKENS[:9], "short")
    excluding = sure_of(following)
    excluding[:, 60:] = -np.inf
    check_own_logits(excluding, TOKENS, "excluding")


class Shares(Recurrent):
    """Gives probabilities, or their logarithm."""

    def __init__(self, *, logarithm: bool) -> None:
        super().__init__()
        self._logarithm = logarithm

    def forward(self, ids: Tensor) -> Any:
        shares = torch.softmax(super().forward(ids), dim=-1)
        return shares.log() if self._logarithm else shares


def test_probabilities_are_no_logits(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="let it return logits, or the logarithm of"):
        label(tmp_path, Shares(logarithm=False), codec="topk:32", own_logits=True)
    # What it says.
    label(tmp_path, Shares(logarithm=True), codec="topk:32", own_logits=True)
