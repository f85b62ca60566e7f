"""Losses of tokens against the formulas, written down over all logits."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from labelcast.codec import LabelKind
from labelcast.errors import ContractMismatchError, InvalidRequestError, LabelValueError
from labelcast.torch.tokens.divergences import TokenLoss
from labelcast.torch.tokens.losses import token_loss, token_loss_of_states
from labelcast.torch.tokens.sparse_rows import SparseRows
from labelcast.torch.tokens.student_head import StudentHead
from labelcast.torch.tokens.teachers import DenseLabels, NamedLabels, StateLabels, Teacher
from tests.factories.token_teachers import (
    TEACHERS,
    TOKENS,
    VOCABULARY,
    Reference,
    state_labels,
)

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_device = pytest.mark.parametrize("device", DEVICES)
every_teacher = pytest.mark.parametrize("kind", TEACHERS)
every_loss = pytest.mark.parametrize("loss", TokenLoss)
WIDTH = 5
MASK = torch.arange(TOKENS) % 3 != 1
# Three tokens of a slice: none divides the tokens, of which MASK leaves a number that is none.
SLICE = 3 * 4 * VOCABULARY


def student(
    dtype: torch.dtype = torch.float32, padding: int = 0, device: str = "cpu", **more: Any
) -> tuple[Tensor, StudentHead]:
    generator = torch.Generator().manual_seed(7)

    def leaf(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return drawn.to(device, dtype).requires_grad_()

    states, weight = leaf(TOKENS, WIDTH), leaf(VOCABULARY + padding, WIDTH)
    bias = leaf(VOCABULARY + padding) if more.pop("bias", False) else None
    return states, StudentHead(weight, bias, padding=padding, **more)


def leaves(states: Tensor, head: StudentHead) -> list[Tensor]:
    return [states, head.weight, *([] if head.bias is None else [head.bias])]


def logits_of(states: Tensor, head: StudentHead) -> Tensor:
    products = states @ head.weight.T
    logits = (products if head.bias is None else products + head.bias) * head.scale
    return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)


def undefined(kind: str, loss: TokenLoss) -> bool:
    """Whether a loss of these labels is infinite."""
    zeros = {"sparse-zero", "probabilities-zero", "logits-excluding"}
    return loss is TokenLoss.REVERSE_KL and kind in zeros


def assert_same(ours: Tensor, theirs: Tensor, relative: float = 1e-5) -> None:
    torch.testing.assert_close(
        ours.double(), theirs.double(), rtol=relative, atol=relative * float(theirs.detach().abs().max())
    )


@every_device
@every_loss
@every_teacher
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("squared", [False, True])
def test_value_and_gradients_are_those_of_the_formula(
    kind: str, loss: TokenLoss, mask: Tensor | None, squared: bool, device: str
) -> None:
    if undefined(kind, loss):
        return
    for temperature in (1.0,) if TEACHERS[kind](1.0, device).fixed else (1.0, 2.5):
        teacher = TEACHERS[kind](temperature, device)
        for more in ({}, {"bias": True, "scale": 0.7, "softcap": 2.0}, {"padding": 3}):
            states, head = student(device=device, **more)
            options = {
                "loss": loss,
                "temperature": temperature,
                "beta": 0.3,
                "mask": mask,
                "scale_by_temperature_squared": squared,
            }
            expected = teacher.loss(logits_of(states, head)[:, :VOCABULARY], **options)
            expected_gradients = torch.autograd.grad(expected, leaves(states, head))
            found = token_loss_of_states(states, head, teacher.labels, slice_bytes=SLICE, **options)
            assert_same(found, expected)
            for ours, theirs in zip(
                torch.autograd.grad(found, leaves(states, head)), expected_gradients, strict=True
            ):
                assert_same(ours, theirs)
            logits = logits_of(states, head)
            found = token_loss(
                logits, teacher.labels, padding=head.padding, slice_bytes=SLICE, **options
            )
            assert_same(found, expected)
            for ours, theirs in zip(
                torch.autograd.grad(found, leaves(states, head)), expected_gradients, strict=True
            ):
                assert_same(ours, theirs)
