"""Small causal language models: one without transformers."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelcast.errors import LabelcastError
from labelcast_producers.fitting.parallel import ALONE, Workers, joined_workers
from labelcast_producers.relabel.language.relabeller import RelabelledText, relabel_text
from labelcast_producers.relabel.language.teachers.model import model_of
from labelcast_producers.relabel.language.text.sequences import TokenSequences
from labelcast_producers.relabel.language.text.tokenizer import Tokenizer

VOCABULARY, COLUMNS, WIDTH = 300, 320, 32
TOKENS = Tokenizer("tiny", tuple(f"t{number}" for number in range(VOCABULARY)), lambda text: [])


class Recurrent(nn.Module):
    """A recurrent network: it sees nothing that comes later.

    Args:
        columns: of its logits.
        held_after: shown so many batches, it gives no answer to the next.
        masked: tokens from this one on get -inf.
        later: adds the mean of all states, as a model does that is not causal.
        sick: its states become NaN from this batch on.
        bias: of the head.
        factor: of the logits, of which nothing else says.
    """

    def __init__(
        self,
        *,
        columns: int = COLUMNS,
        held_after: int | None = None,
        masked: int | None = None,
        later: bool = False,
        sick: int | None = None,
        bias: bool = False,
        factor: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(columns, WIDTH)
        self.cell = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.lm_head = nn.Linear(WIDTH, columns, bias=bias)
        self.held_after, self.masked, self.later = held_after, masked, later
        self.sick, self.factor, self.shown = sick, factor, 0
        with torch.no_grad():
            self.lm_head.weight *= 12

    def forward(self, ids: Tensor) -> Tensor:
        while self.shown == self.held_after:
            time.sleep(0.1)
        self.shown += 1
        states, _ = self.cell(self.embedding(ids))
        if self.later:
            states = states + states.mean(dim=1, keepdim=True)
        if self.sick is not None and self.shown > self.sick:
            states = states * float("nan")
        logits: Tensor = self.lm_head(states) * self.factor
        if self.masked is not None:
            logits[..., self.masked :] = -torch.inf
        return logits


class Headless(nn.Module):
    """Gives logits of a head that has another name."""

    def __init__(self) -> None:
        super().__init__()
        inner = Recurrent()
        self.embedding, self.cell, self.projection = inner.embedding, inner.cell, inner.lm_head

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        states, _ = self.cell(self.embedding(ids))
        return {"logits": self.projection(states)}


class Wrapped(nn.Module):
    """Names the head of what it wraps, too."""

    def __init__(self) -> None:
        super().__init__()
        self.wrapped = Recurrent()
        self.lm_head = self.wrapped.lm_head

    def forward(self, ids: Tensor) -> Any:
        return self.wrapped(ids)


def some_sequences(count: int = 12, *, longest: int = 40, seed: int = 3) -> TokenSequences:
    """Sequences of random tokens, of 2 to `longest`."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, longest + 1, count).astype(np.uint32)
    tokens = rng.integers(0, VOCABULARY, int(lengths.sum())).astype(np.uint32)
    return TokenSequences(tokens, lengths, "random")


def label(
    out: Path,
    module: nn.Module | None = None,
    *,
    sequences: TokenSequences | None = None,
    tokenizer: Tokenizer = TOKENS,
    codec: str = "hidden:int8",
    workers: Workers = ALONE,
    **options: Any,
) -> RelabelledText:
    """What the tests label; progress is noted after every batch."""
    return relabel_text(
        model_of(Recurrent() if module is None else module, "tiny"),
        some_sequences() if sequences is None else sequences,
        tokenizer,
        codec=codec,
        out=out,
        device="cpu",
        workers=workers,
        save_seconds=0,
        **({"batch_tokens": 100} | options),
    )


def main(out: Path, arguments: dict[str, Any]) -> None:
    """What each of the processes does."""
    with joined_workers() as workers:
        try:
            codec = arguments.pop("codec", "hidden:int8")
            label(out, Recurrent(**arguments), codec=codec, workers=workers)
        except LabelcastError as error:
            print(error.message, flush=True)
            sys.exit(1)
