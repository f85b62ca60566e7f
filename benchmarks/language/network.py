"""The students' network: a small causal language model with a tied head."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_THETA = 10_000.0
_INITIAL_DEVIATION = 0.02


class Student(nn.Module):
    """A decoder of a few layers; its hidden states after the final norm are what the head takes.

    Args:
        vocabulary: tokens.
        width: of the states; a multiple of 2 · heads.
        layers: of attention and a gated feed-forward network.
        heads: of each attention.
    """

    def __init__(self, *, vocabulary: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        self._half = width // heads // 2
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=_INITIAL_DEVIATION)

    @property
    def head(self) -> Tensor:
        """Shape (V, width)."""
        return self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Hidden states, shape (B, L, width), of token IDs (B, L)."""
        states = self.embedding(tokens)
        turns = _turns(tokens.shape[1], self._half)
        for layer in self.layers:
            states = layer(states, turns)
        normed: Tensor = self.norm(states)
        return normed


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.attention_norm, self.feed_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attended = nn.Linear(width, 3 * width, bias=False)
        self.mixed = nn.Linear(width, width, bias=False)
        self.widened = nn.Linear(width, 8 * width // 3 * 2, bias=False)
        self.narrowed = nn.Linear(8 * width // 3, width, bias=False)

    def forward(self, states: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        states = states + self._attend(self.attention_norm(states), turns)
        gate, value = self.widened(self.feed_norm(states)).chunk(2, dim=-1)
        added: Tensor = self.narrowed(functional.silu(gate) * value)
        return states + added

    def _attend(self, states: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        batch, length, width = states.shape
        split = self.attended(states).view(batch, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = split[0], split[1], split[2]
        found = functional.scaled_dot_product_attention(
            _turned(query, turns), _turned(key, turns), value, is_causal=True
        )
        mixed: Tensor = self.mixed(found.transpose(1, 2).reshape(batch, length, width))
        return mixed


def _turns(length: int, half: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, each (length, half)."""
    angles = torch.arange(length)[:, None] * _THETA ** (-torch.arange(half) / half)
    return angles.cos(), angles.sin()


def _turned(vectors: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    cosines, sines = turns
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, first * sines + second * cosines], dim=-1)
