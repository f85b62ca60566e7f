"""Teachers of a few tokens, each with the formula of its loss over all logits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labelcast.codec import LabelKind
from labelcast.codec.latent import Head, HeadDtype, HeadSpec, head_digest
from labelcast.codec.latent.head import HeadRows
from labelcast.torch.tokens.divergences import TokenLoss
from labelcast.torch.tokens.heads.teacher_head import TeacherHead
from labelcast.torch.tokens.sparse_rows import SparseRows
from labelcast.torch.tokens.teachers import DenseLabels, NamedLabels, StateLabels, Teacher

TOKENS, VOCABULARY, WIDTH, NAMED = 11, 13, 4, 5


@dataclass(frozen=True)
class Reference:
    """A teacher, and its probabilities in double precision.

    Attributes:
        labels: what the loss is given.
        probabilities: float64, shape (T, V).
        lumped: bool, shape (T, V): tokens that are one outcome; None if each is its own.
        fixed: whether it has one temperature only.
    """

    labels: Teacher
    probabilities: Tensor
    lumped: Tensor | None = None
    fixed: bool = True

    def loss(
        self,
        logits: Tensor,
        *,
        loss: TokenLoss,
        temperature: float,
        beta: float,
        mask: Tensor | None,
        scale_by_temperature_squared: bool,
    ) -> Tensor:
        student = torch.softmax(logits.double() / temperature, dim=1)
        teacher = self.probabilities
        if self.lumped is not None:
            student, teacher = (_merged(each, self.lumped) for each in (student, teacher))
        values = _value(loss, student, teacher, beta)
        if mask is not None:
            values = values[mask.to(values.device)]
        return values.mean() * (temperature**2 if scale_by_temperature_squared else 1)


def _merged(shares: Tensor, lumped: Tensor) -> Tensor:
    rest = (shares * lumped).sum(dim=1, keepdim=True)
    return torch.cat([shares * ~lumped, rest], dim=1)


def _value(loss: TokenLoss, p: Tensor, q: Tensor, beta: float) -> Tensor:
    if loss is TokenLoss.FORWARD_KL:
        return _divergence(q, p)
    if loss is TokenLoss.REVERSE_KL:
        return _divergence(p, q)
    if loss is TokenLoss.CROSS_ENTROPY:
        return -torch.xlogy(q, p.where(q > 0, 1)).sum(dim=1)
    mixed = beta * q + (1 - beta) * p
    return beta * _divergence(q, mixed) + (1 - beta) * _divergence(p, mixed)


def _divergence(one: Tensor, other: Tensor) -> Tensor:
    there = one > 0
    one, other = one.where(there, 1), other.where(there, 1)
    return (one * (one.log() - other.log())).where(there, 0).sum(dim=1)


def _generator() -> np.random.Generator:
    return np.random.default_rng(11)


def head_of(
    dtype: HeadDtype = HeadDtype.FP32,
    *,
    bias: bool = False,
    scale: float = 1.0,
    softcap: float | None = None,
    width: int = WIDTH,
    vocabulary: int = VOCABULARY,
) -> Head:
    """A head in two parts."""
    values = _generator().normal(0, 1, (vocabulary, width + bias)).astype("<f4")
    rows: HeadRows
    if dtype is HeadDtype.BF16:
        rows = (values.view("<u4") >> 16).astype("<u2").view(np.uint8)
    else:
        rows = values.astype("<f2" if dtype is HeadDtype.FP16 else "<f4").view(np.uint8)
    cut = vocabulary // 3
    parts = [rows[:cut], rows[cut:]]
    digest = head_digest(vocabulary, width, dtype, parts, bias=bias)
    spec = HeadSpec(
        digest=digest, width=width, dtype=dtype, bias=bias, scale=scale, softcap=softcap
    )
    return Head(spec, parts)


def states_of(
    width: int = WIDTH, count: int = TOKENS
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(12).normal(0, 1, (count, width)).astype(np.float32)


def teacher_head(device: str = "cpu") -> TeacherHead:
    """The head of `state_labels`."""
    return TeacherHead(head_of(), device)


def state_labels(temperature: float, device: str, head: Head | None = None) -> Reference:
    head = head_of() if head is None else head
    labels = StateLabels(torch.tensor(states_of(), device=device), TeacherHead(head, device))
    logits = torch.tensor(head.logits(states_of()), device=device).double()
    return Reference(labels, torch.softmax(logits / temperature, dim=1), fixed=False)


def dense_logits(temperature: float, device: str, excluding: bool = False) -> Reference:
    values = torch.tensor(_generator().normal(0, 2, (TOKENS, VOCABULARY)), device=device)
    if excluding:
        values[::2, ::3] = -torch.inf
    labels = DenseLabels(values.float(), LabelKind.LOGITS)
    return Reference(labels, torch.softmax(values.float() / temperature, 1).double(), fixed=False)


def dense_probabilities(temperature: float, device: str, zero: bool = False) -> Reference:
    values = _generator().dirichlet(np.ones(VOCABULARY), TOKENS).astype(np.float32)
    if zero:
        values[:, 1::4] = 0
    placed = torch.tensor(values, device=device)
    labels = DenseLabels(placed, LabelKind.PROBABILITIES, temperature=temperature)
    return Reference(labels, placed.double())


def sparse(
    temperature: float, device: str, *, rest: bool = False, lumped: bool = False
) -> Reference:
    """Labels that name up to five tokens; each second row leaves places unused."""
    generator = _generator()
    ids = np.stack([generator.permutation(VOCABULARY)[:NAMED] for _ in range(TOKENS)])
    shares = (generator.dirichlet(np.ones(NAMED), TOKENS) * 0.9).astype(np.float32)
    shares[1::2, 3:] = 0
    ids[1::4, 3] = ids[1::4, 0]
    named = shares > 0
    others = VOCABULARY - named.sum(axis=1)
    each = (1 - shares.sum(axis=1)) / others if rest or lumped else np.zeros(TOKENS)
    rows = SparseRows.of(
        torch.tensor(ids, device=device),
        torch.tensor(shares, device=device),
        torch.tensor(each.astype(np.float32), device=device),
        lumped=lumped,
    )
    whole = np.repeat(each[:, None], VOCABULARY, axis=1)
    unnamed = np.ones((TOKENS, VOCABULARY), dtype=bool)
    row, place = np.nonzero(shares)
    whole[row, ids[row, place]] = shares[row, place]
    unnamed[row, ids[row, place]] = False
    labels = NamedLabels(rows, VOCABULARY, temperature=temperature)
    return Reference(
        labels,
        torch.tensor(whole, device=device),
        torch.tensor(unnamed, device=device) if lumped else None,
    )


TEACHERS: dict[str, Callable[[float, str], Reference]] = {
    "states": state_labels,
    "states-capped": lambda temperature, device: state_labels(
        temperature, device, head_of(HeadDtype.BF16, bias=True, scale=0.5, softcap=1.5)
    ),
    "states-half": lambda temperature, device: state_labels(
        temperature, device, head_of(HeadDtype.FP16)
    ),
    "logits": dense_logits,
    "logits-excluding": lambda temperature, device: dense_logits(temperature, device, True),
    "probabilities": dense_probabilities,
    "probabilities-zero": lambda temperature, device: dense_probabilities(
        temperature, device, True
    ),
    "sparse-zero": sparse,
    "sparse-spread": lambda temperature, device: sparse(temperature, device, rest=True),
    "sparse-lumped": lambda temperature, device: sparse(temperature, device, lumped=True),
}
