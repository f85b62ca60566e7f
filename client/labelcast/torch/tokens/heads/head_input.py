"""What a model's head is given: its last hidden states, without logits of all of them."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from labelcast.torch.tokens.heads.model_head import logit_rule
from labelcast.torch.tokens.heads.student_head import StudentHead

logger = logging.getLogger("labelcast.torch.tokens")

# Of the first logits that are compared; bfloat16 has eight bits.
_TOLERANCE = 2e-2


class HeadInput:
    """Takes the states on their way into a head, of which the model then makes one logit row each.

    As a context manager around one call of the model: works through whatever wraps the model, such
    as DDP, since the model is called as it always is.

    Args:
        head: the module that turns states into logits.
    """

    def __init__(self, head: nn.Linear) -> None:
        self._head = head
        self.states: Tensor | None = None
        """float, shape (B, L, ds), after the call."""

    def __enter__(self) -> "HeadInput":
        self._handle = self._head.register_forward_pre_hook(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _take(self, _: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        self.states, *rest = given
        assert self.states is not None  # noqa: S101 - for the type checker
        return (self.states[:, :1], *rest)


def head_of(model: Any, *, padding: int) -> tuple[nn.Linear, StudentHead] | None:
    """A causal LM's head and what becomes of its products, as its configuration tells.

    Args:
        model: of `transformers`, not wrapped.
        padding: rows of the head after those of the tokens.

    Returns:
        None if the model has no head of one linear layer.
    """
    module = model.get_output_embeddings()
    if type(module) is not nn.Linear:
        return None
    rule = logit_rule(model.config.get_text_config().to_dict())
    head = StudentHead(module.weight, module.bias, rule.scale, rule.softcap, padding)
    return module, head


def makes_logits(head: StudentHead, states: Tensor, logits: Tensor) -> bool:
    """Whether the head alone makes the model's own logits of its states.

    Args:
        head: head.
        states: float, shape (B, L, ds): what the head was given.
        logits: float, shape (B, 1, V + padding): what the model made of each row's first state.
    """
    with torch.no_grad(), torch.autocast(states.device.type, enabled=False):
        made = nn.functional.linear(
            states[:, :1].float(),
            head.weight.float(),
            None if head.bias is None else head.bias.float(),
        )
        made *= head.scale
        if head.softcap is not None:
            made = head.softcap * torch.tanh(made / head.softcap)
    if made.shape != logits.shape:
        return False
    far = (made - logits.float()).abs().max()
    return bool(far <= _TOLERANCE * logits.float().abs().max().clamp(min=1e-6))
