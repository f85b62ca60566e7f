"""Autograd functions that go through a batch a slice of tokens at a time.

The gradient is made in the forward pass, while a slice's logits are there: the backward pass only
scales it. Whoever goes through the graph again has it made again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from labelcast.errors import LabelValueError
from labelcast.torch.tokens.divergences import Objective, TokenLoss
from labelcast.torch.tokens.heads.student_head import HeadProducts, StudentHead
from labelcast.torch.tokens.sparse_rows import Part
from labelcast.torch.tokens.teachers import Teacher

# Gradients of half-precision logits are kept as much larger, lest the smallest become 0 before a
# GradScaler's factor reaches them; none is above a hundred.
_HALF_GAIN = 256.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared, besides the student's tensors.

    Attributes:
        teacher: labels of T tokens.
        objective: what is minimised.
        counted: int64: places of the tokens that count; None if all do.
        slice_rows: tokens of a slice.
        differentiated: whether gradients are wanted at all.
    """

    teacher: Teacher
    objective: Objective
    counted: Tensor | None
    slice_rows: int
    differentiated: bool

    def __len__(self) -> int:
        return len(self.teacher) if self.counted is None else len(self.counted)

    def parts(self) -> Iterator[Part]:
        """Slices of tokens that count."""
        for start in range(0, len(self), self.slice_rows):
            part = slice(start, min(start + self.slice_rows, len(self)))
            yield part if self.counted is None else self.counted[part]

    def gradient_scale(self) -> float:
        """Factor of what `Compared` has as gradients: they are of a sum, after a division."""
        return 1 / (len(self) * self.objective.temperature)


class LossOfStates(torch.autograd.Function):
    """Loss of a student's states and its head."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: StudentHead,
        comparison: Comparison,
        *kept: Tensor,
    ) -> Tensor:
        """See `torch.autograd.Function`."""
        wanted = tuple(ctx.needs_input_grad[:3]) if comparison.differentiated else (False,) * 3
        loss, gradients = _of_states(comparison, head, states, wanted)
        ctx.comparison, ctx.head, ctx.gradients = comparison, head, gradients
        # Saved so that torch notices if any was changed since.
        ctx.save_for_backward(states, weight, bias, *kept)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """See `torch.autograd.Function`."""
        states, weight, bias, *kept = ctx.saved_tensors
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            wanted = tuple(ctx.needs_input_grad[:3])
            _, gradients = _of_states(ctx.comparison, ctx.head, states, wanted)
        factor = upstream * ctx.comparison.gradient_scale()
        scaled = [
            None if gradient is None else gradient.mul_(factor).to(like.dtype)
            for gradient, like in zip(gradients, (states, weight, bias), strict=True)
        ]
        return (*scaled, None, None, *(None for _ in kept))


class LossOfLogits(torch.autograd.Function):
    """Loss of a student's logits, of which the last columns may be padding."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, comparison: Comparison, *kept: Tensor) -> Tensor:
        """See `torch.autograd.Function`."""
        loss, gradient = _of_logits(comparison, logits)
        ctx.comparison, ctx.gradient = comparison, gradient
        ctx.save_for_backward(logits, *kept)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """See `torch.autograd.Function`."""
        logits, *kept = ctx.saved_tensors
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            _, gradient = _of_logits(ctx.comparison, logits)
        factor = upstream * (ctx.comparison.gradient_scale() / _gain(logits.dtype))
        return (gradient.mul_(factor), None, *(None for _ in kept))


def _of_states(
    comparison: Comparison, head: StudentHead, states: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor, list[Tensor | None]]:
    vocabulary = comparison.teacher.vocabulary
    of_states, of_weight, of_bias = wanted
    # Autocast would compute in half precision, in whichever pass it happens to be on.
    with torch.autocast(states.device.type, enabled=False):
        products = HeadProducts(head, states, vocabulary, (of_states, of_weight, of_bias))
        found = _Sum(comparison, states.device, products.dtype)
        for part in comparison.parts():
            logits, slope = products.logits(part)
            gradient = found.add(logits, part)
            del logits
            if any(wanted):
                products.add(part, gradient, slope)
    return found.mean(), products.gradients


def _of_logits(comparison: Comparison, logits: Tensor) -> tuple[Tensor, Tensor | None]:
    vocabulary = comparison.teacher.vocabulary
    wide = torch.promote_types(logits.dtype, torch.float32)
    gradient = torch.zeros_like(logits) if comparison.differentiated else None
    with torch.autocast(logits.device.type, enabled=False):
        found = _Sum(comparison, logits.device, wide)
        for part in comparison.parts():
            made = found.add(logits[part, :vocabulary].to(wide, copy=True), part)
            if gradient is not None:
                gradient[part, :vocabulary] = made.mul_(_gain(logits.dtype)).to(logits.dtype)
    return found.mean(), gradient


class _Sum:
    """The loss so far."""

    def __init__(self, comparison: Comparison, device: torch.device, dtype: torch.dtype) -> None:
        self._comparison = comparison
        self._total = torch.zeros((), dtype=dtype, device=device)
        self._infinite = torch.zeros((), dtype=torch.bool, device=device)

    def add(self, logits: Tensor, part: Part) -> Tensor:
        """Add some tokens; returns the gradient of their logits, which are overwritten."""
        found = self._comparison.teacher.compare(self._comparison.objective, logits, part)
        self._total += found.total
        self._infinite |= found.infinite
        return found.gradient

    def mean(self) -> Tensor:
        """The loss.

        Raises:
            LabelValueError: it is infinite, whatever the student does.
        """
        loss = self._comparison.objective.loss
        # One transfer, and only where it can be.
        if loss is TokenLoss.REVERSE_KL and bool(self._infinite):
            raise LabelValueError(
                "these labels give tokens a probability of 0, where the reverse KL is infinite; use"
                " forward-kl or jensen-shannon, or labels that spread what they do not name"
            )
        return self._total / len(self._comparison)


def _gain(dtype: torch.dtype) -> float:
    return _HALF_GAIN if dtype is torch.float16 else 1.0
