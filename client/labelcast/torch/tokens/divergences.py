"""Divergences between a student's and a teacher's distributions, with their gradients.

Shape letters: `n` tokens of a slice, `V` vocabulary, `m` outcomes, `k` named tokens of a row.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from labelcast.errors import InvalidRequestError
from labelcast.torch.tokens.sparse_rows import SparseRows

# Stands for the logarithm of 0 where its product with 0 must be 0.
NOTHING = -1e30


class TokenLoss(StrEnum):
    """Losses of a student's tokens, q being the teacher's probabilities and p the student's.

    FORWARD_KL is KL(q‖p), REVERSE_KL is KL(p‖q). JENSEN_SHANNON is β·KL(q‖m) + (1 − β)·KL(p‖m) with
    m = β·q + (1 − β)·p, as generalised knowledge distillation has it (arXiv 2306.13649).
    CROSS_ENTROPY is −Σ q log p: its gradient is that of FORWARD_KL, and with sampled labels its
    value, too, is right on average.
    """

    FORWARD_KL = "forward-kl"
    REVERSE_KL = "reverse-kl"
    JENSEN_SHANNON = "jensen-shannon"
    CROSS_ENTROPY = "cross-entropy"

    @property
    def linear(self) -> bool:
        """Whether gradients are linear in the teacher's probabilities."""
        return self in (TokenLoss.FORWARD_KL, TokenLoss.CROSS_ENTROPY)


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised.

    Attributes:
        loss: divergence.
        temperature: softmax temperature of both sides.
        beta: the teacher's weight β of JENSEN_SHANNON.

    Raises:
        InvalidRequestError: there is no such temperature or β.
    """

    loss: TokenLoss
    temperature: float = 1.0
    beta: float = 0.5

    def __post_init__(self) -> None:
        # Written so that NaN fails.
        if not 0 < self.temperature < math.inf:
            raise InvalidRequestError(f"temperature {self.temperature} is not a number above 0")
        if not 0 < self.beta < 1:
            raise InvalidRequestError(
                f"beta is {self.beta}, must be between 0 and 1; at the ends use the losses"
                " forward-kl and reverse-kl"
            )


@dataclass(frozen=True, slots=True)
class Compared:
    """What a slice of tokens comes to.

    Attributes:
        total: scalar, sum over the tokens.
        gradient: shape (n, V), in the student's logits after division by the temperature.
        infinite: bool scalar: whether the teacher excludes what the student does not.
    """

    total: Tensor
    gradient: Tensor
    infinite: Tensor


def compare_logits(objective: Objective, student: Tensor, teacher: Tensor) -> Compared:
    """Compare logits with logits; both are overwritten.

    Args:
        objective: what is minimised.
        student: float32 or float64, shape (n, V).
        teacher: same type and shape.
    """
    log_student = _log_softmax(student, objective.temperature)
    log_teacher = _log_softmax(teacher, objective.temperature)
    shares = torch.exp(log_teacher, out=teacher)
    return _compare(objective, log_student, log_teacher, shares, mass=None)


def compare_probabilities(objective: Objective, student: Tensor, shares: Tensor) -> Compared:
    """Compare logits with the teacher's probabilities, which need not sum to one.

    Args:
        objective: what is minimised.
        student: float32 or float64, shape (n, V); overwritten.
        shares: same type and shape.
    """
    log_student = _log_softmax(student, objective.temperature)
    return _compare(objective, log_student, shares.log(), shares, shares.sum(dim=1, keepdim=True))


def compare_sparse(objective: Objective, student: Tensor, teacher: SparseRows) -> Compared:
    """Compare logits with labels that name a few tokens; the logits are overwritten.

    Args:
        objective: what is minimised.
        student: float32 or float64, shape (n, V).
        teacher: labels of the same tokens, of the same type.
    """
    log_student = _log_softmax(student, objective.temperature)
    if teacher.lumped:
        return _compare_lumped(objective, log_student, teacher)
    if objective.loss.linear:
        return _compare_named(objective, log_student, teacher)
    shares = teacher.dense(log_student.shape[1])
    log_teacher = shares.log()
    return _compare(objective, log_student, log_teacher, shares, shares.sum(dim=1, keepdim=True))


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(logits if temperature == 1 else logits.div_(temperature), dim=1)


def _compare(
    objective: Objective,
    log_student: Tensor,
    log_teacher: Tensor,
    shares: Tensor,
    mass: Tensor | None,
) -> Compared:
    """Compare distributions over m outcomes, overwriting both logarithms.

    The gradient is in the logarithm of each outcome's odds: of logits, where outcomes are tokens.
    `mass` is the sum of `shares`, None for 1.
    """
    if objective.loss is TokenLoss.REVERSE_KL:
        return _reverse(log_student, log_teacher)
    log_teacher.clamp_(min=NOTHING)
    if objective.loss is TokenLoss.JENSEN_SHANNON:
        return _jensen_shannon(objective.beta, log_student, log_teacher, shares)
    if objective.loss is TokenLoss.FORWARD_KL:
        total = log_teacher.sub_(log_student).mul_(shares).sum()
    else:
        total = -torch.mul(log_student, shares, out=log_teacher).sum()
    gradient = log_student.exp_()
    if mass is not None:
        gradient.mul_(mass)
    return Compared(total, gradient.sub_(shares), _never(total))


def _reverse(log_student: Tensor, log_teacher: Tensor) -> Compared:
    infinite = torch.isneginf(log_teacher).any()
    difference = torch.sub(log_student, log_teacher, out=log_teacher)
    shares = log_student.exp_()
    values = torch.linalg.vecdot(shares, difference).unsqueeze(1)
    return Compared(values.sum(), shares.mul_(difference.sub_(values)), infinite)


def _jensen_shannon(
    beta: float, log_student: Tensor, log_teacher: Tensor, teacher_shares: Tensor
) -> Compared:
    mixed = torch.logaddexp(log_teacher + math.log(beta), log_student + math.log1p(-beta))
    from_teacher = log_teacher.sub_(mixed).mul_(teacher_shares).sum()
    difference = torch.sub(log_student, mixed, out=mixed)
    shares = log_student.exp_()
    values = torch.linalg.vecdot(shares, difference).unsqueeze(1)
    total = beta * from_teacher + (1 - beta) * values.sum()
    gradient = shares.mul_(difference.sub_(values)).mul_(1 - beta)
    return Compared(total, gradient, _never(total))


def _compare_named(objective: Objective, log_student: Tensor, teacher: SparseRows) -> Compared:
    """Losses that are linear in the teacher need no more than sums over the other tokens."""
    others = log_student.shape[1] - teacher.named.sum(dim=1)
    log_named = log_student.gather(1, teacher.ids)
    shares, rest = teacher.probabilities, teacher.rest
    log_others = log_student.sum(dim=1) - log_named.where(teacher.named, 0).sum(dim=1)
    total = -(shares * log_named).sum() - (rest * log_others).sum()
    if objective.loss is TokenLoss.FORWARD_KL:
        total += torch.xlogy(shares, shares).sum() + (others * torch.xlogy(rest, rest)).sum()
    mass = shares.sum(dim=1) + others * rest
    gradient = log_student.exp_().mul_(mass[:, None]).sub_(rest[:, None])
    excess = (rest[:, None] - shares).where(teacher.named, 0)
    return Compared(total, gradient.scatter_add_(1, teacher.ids, excess), _never(total))


def _compare_lumped(objective: Objective, log_student: Tensor, teacher: SparseRows) -> Compared:
    """The tokens that are not named are one outcome."""
    log_named = log_student.gather(1, teacher.ids).where(teacher.named, NOTHING)
    others = log_student.scatter_(1, teacher.ids, -math.inf)
    # Finite even where every token is named, so that their differences are.
    log_rest = torch.logsumexp(others, dim=1, keepdim=True).clamp_(min=NOTHING)
    left = (1 - teacher.probabilities.sum(dim=1, keepdim=True)).clamp_(min=0)
    shares = torch.cat([teacher.probabilities, left], dim=1)
    log_shares = shares.log()
    log_shares[:, :-1].masked_fill_(~teacher.named, NOTHING)
    log_shares[:, -1:].masked_fill_((left == 0) & (log_rest == NOTHING), NOTHING)
    outcomes = torch.cat([log_named, log_rest], dim=1)
    found = _compare(objective, outcomes, log_shares, shares, shares.sum(dim=1, keepdim=True))
    gradient = others.sub_(log_rest).exp_().mul_(found.gradient[:, -1:])
    named = found.gradient[:, :-1].where(teacher.named, 0)
    return Compared(found.total, gradient.scatter_add_(1, teacher.ids, named), found.infinite)


def _never(like: Tensor) -> Tensor:
    return torch.zeros((), dtype=torch.bool, device=like.device)
