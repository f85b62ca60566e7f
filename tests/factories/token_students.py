"""A student of a few tokens."""

from typing import Any

import torch
from torch import Tensor

from labelcast.torch.tokens.heads.student_head import StudentHead
from tests.factories.token_teachers import TOKENS, VOCABULARY

STUDENT_WIDTH = 5
MASK = torch.arange(TOKENS) % 3 != 1


def student(
    dtype: torch.dtype = torch.float32, padding: int = 0, device: str = "cpu", **more: Any
) -> tuple[Tensor, StudentHead]:
    generator = torch.Generator().manual_seed(7)

    def leaf(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return drawn.to(device, dtype).requires_grad_()

    states, weight = leaf(TOKENS, STUDENT_WIDTH), leaf(VOCABULARY + padding, STUDENT_WIDTH)
    bias = leaf(VOCABULARY + padding) if more.pop("bias", False) else None
    return states, StudentHead(weight, bias, padding=padding, **more)


def leaves(states: Tensor, head: StudentHead) -> list[Tensor]:
    return [states, head.weight, *([] if head.bias is None else [head.bias])]


def logits_of(states: Tensor, head: StudentHead) -> Tensor:
    products = states @ head.weight.T
    logits = (products if head.bias is None else products + head.bias) * head.scale
    return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)
