"""Ways to the same loss: KL from a teacher's states to a student's, with gradients."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from labelcast.codec.latent import Head, HeadDtype, HeadSpec, head_digest
from labelcast.torch.tokens.heads.student_head import StudentHead
from labelcast.torch.tokens.heads.teacher_head import TeacherHead
from labelcast.torch.tokens.losses import token_loss, token_loss_of_states
from labelcast.torch.tokens.sparse_rows import SparseRows
from labelcast.torch.tokens.teachers import NamedLabels, StateLabels

# Columns of a slice over the vocabulary: their logits take as much as a slice of tokens.
COLUMNS = 2048
NAMED = 12


@dataclass(frozen=True)
class Inputs:
    """Student and teacher of some tokens.

    Attributes:
        states: float32, shape (T, d), of the student.
        weight: float32, shape (V, d), of the student's head.
        teacher: states and head of the teacher.
        teacher_states: float32, shape (T, d).
        teacher_weight: float32, shape (V, d).
    """

    states: Tensor
    weight: Tensor
    teacher: StateLabels
    teacher_states: Tensor
    teacher_weight: Tensor

    @classmethod
    def drawn(cls, tokens: int, vocabulary: int, width: int) -> "Inputs":
        """Draw all from normal distributions; distributions are as sharp as a language model's."""
        generator = torch.Generator().manual_seed(0)
        states, teacher_states = torch.randn(2, tokens, width, generator=generator)
        weights = torch.randn(2, vocabulary, width, generator=generator) * 0.1
        rows = weights[1].numpy().view(np.uint8)
        digest = head_digest(vocabulary, width, HeadDtype.FP32, [rows])
        head = Head(HeadSpec(digest=digest, width=width, dtype=HeadDtype.FP32), [rows])
        return cls(
            states.requires_grad_(),
            weights[0].requires_grad_(),
            StateLabels(teacher_states, TeacherHead(head, "cpu")),
            teacher_states,
            weights[1],
        )

    def named(self) -> NamedLabels:
        """Labels that name a few tokens of each row."""
        shape = (len(self.states), NAMED)
        generator = torch.Generator().manual_seed(1)
        first = torch.randint(len(self.weight) - NAMED, (len(self.states), 1), generator=generator)
        shares = torch.full(shape, 1 / NAMED)
        rows = SparseRows.of(
            first + torch.arange(NAMED), shares, torch.zeros(len(first)), lumped=False
        )
        return NamedLabels(rows, len(self.weight), drawn=True)


def naive(given: Inputs) -> Tensor:
    """Logits of both sides, and torch's own functions."""
    student = functional.log_softmax(given.states @ given.weight.T, dim=1)
    teacher = functional.log_softmax(given.teacher_states @ given.teacher_weight.T, dim=1)
    loss = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    loss.backward()
    return loss.detach()


def over_tokens(given: Inputs) -> Tensor:
    """Ours."""
    loss = token_loss_of_states(given.states, StudentHead(given.weight), given.teacher)
    loss.backward()
    return loss.detach()


def from_logits(given: Inputs) -> Tensor:
    """Ours, of logits that the student has made."""
    loss = token_loss(given.states @ given.weight.T, given.teacher)
    loss.backward()
    return loss.detach()


def sampled(given: Inputs) -> Tensor:
    """Ours, of labels that name a few tokens."""
    loss = token_loss_of_states(given.states, StudentHead(given.weight), given.named())
    loss.backward()
    return loss.detach()


@torch.no_grad()
def over_vocabulary(given: Inputs) -> Tensor:
    """Slices of the vocabulary: sums as they come, then all logits again for the gradient."""
    sides = ((given.states, given.weight), (given.teacher_states, given.teacher_weight))
    tokens, vocabulary = len(given.states), len(given.weight)
    most = torch.full((2, tokens, 1), -torch.inf)
    total, difference = torch.zeros(2, tokens, 1), torch.zeros(tokens, 1)
    for start in range(0, vocabulary, COLUMNS):
        logits = [states @ weight[start : start + COLUMNS].T for states, weight in sides]
        grown = torch.stack([each.amax(dim=1, keepdim=True) for each in logits]).maximum(most)
        shrink = (most - grown).exp_()
        most, shares = grown, [(each - top).exp_() for each, top in zip(logits, grown, strict=True)]
        total.mul_(shrink).add_(torch.stack([each.sum(dim=1, keepdim=True) for each in shares]))
        gap = logits[1].sub_(logits[0]).mul_(shares[1]).sum(dim=1, keepdim=True)
        difference.mul_(shrink[1]).add_(gap)
    log_total = most + total.log()
    loss = (difference / total[1] - log_total[1] + log_total[0]).mean()
    given.states.grad, given.weight.grad = (
        torch.zeros_like(given.states),
        torch.empty_like(given.weight),
    )
    for start in range(0, vocabulary, COLUMNS):
        part = slice(start, start + COLUMNS)
        student, teacher = (
            (states @ weight[part].T).sub_(top).exp_()
            for (states, weight), top in zip(sides, log_total, strict=True)
        )
        gradient = student.sub_(teacher).div_(tokens)
        given.states.grad.addmm_(gradient, given.weight[part])
        torch.mm(gradient.T, given.states, out=given.weight.grad[part])
    return loss


WAYS: dict[str, Callable[[Inputs], Tensor]] = {
    "naive": naive,
    "over tokens": over_tokens,
    "from logits": from_logits,
    "sampled": sampled,
    "over vocabulary": over_vocabulary,
}
