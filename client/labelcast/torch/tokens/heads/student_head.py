"""The student's head, and a slice of its products at a time."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from labelcast.errors import InvalidRequestError


@dataclass(frozen=True, eq=False, slots=True)
class StudentHead:
    """What turns a student's last hidden states into logits: softcap(scale · (W h + b)).

    Attributes:
        weight: float, shape (V + padding, ds), as `model.lm_head.weight` or a tied embedding is.
        bias: float, shape (V + padding,); None if there is none.
        scale: factor of the products, such as Cohere's `logit_scale`.
        softcap: bound c of logits, which become c · tanh(x / c); None for none.
        padding: rows after those of the tokens, which no token names; they are cut off.

    Raises:
        InvalidRequestError: shapes, types or numbers that are none of a head.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    padding: int = 0

    def __post_init__(self) -> None:
        weight, bias = self.weight, self.bias
        if weight.ndim != 2 or not weight.is_floating_point():
            raise InvalidRequestError(
                f"a head's weight must be float of shape (V, width), not {weight.dtype} of shape"
                f" {tuple(weight.shape)}"
            )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise InvalidRequestError(
                f"a bias of shape {tuple(bias.shape)} does not fit a head of {len(weight)} rows"
            )
        if not (math.isfinite(self.scale) and self.scale):
            raise InvalidRequestError(f"a head's scale is {self.scale}, must be finite and not 0")
        if self.softcap is not None and not 0 < self.softcap < math.inf:
            raise InvalidRequestError(f"a head's softcap is {self.softcap}, must be above 0")

    @property
    def product_dtype(self) -> torch.dtype:
        """Type of products with the weight.

        Halves are widened, since their gradients would be lost before a GradScaler saw them;
        bfloat16 is multiplied as the model would.
        """
        dtype = self.weight.dtype
        return torch.float32 if dtype is torch.float16 else dtype


class HeadProducts:
    """Logits of slices of tokens, and what their gradients come to.

    Args:
        head: the student's head; its padding is left out.
        states: float, shape (T, ds).
        vocabulary: tokens, V.
        wanted: which gradients are wanted: of states, weight and bias.
    """

    def __init__(
        self, head: StudentHead, states: Tensor, vocabulary: int, wanted: tuple[bool, bool, bool]
    ) -> None:
        self._head, self._states = head, states
        self._product = torch.promote_types(head.product_dtype, states.dtype)
        self.dtype = torch.promote_types(self._product, torch.float32)
        """Type of logits."""
        self._weight = head.weight[:vocabulary].to(self._product)
        self._bias = None if head.bias is None else head.bias[:vocabulary].to(self._product)
        # In the type of logits: sums over thousands of tokens, and halves before they are scaled.
        shapes = (states.shape, head.weight.shape, head.weight.shape[:1])
        self.gradients = [
            torch.zeros(shape, dtype=self.dtype, device=states.device) if each else None
            for shape, each in zip(shapes, wanted, strict=True)
        ]

    def logits(self, part: slice | Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of some tokens, and the slope of the softcap where there is one.

        Returns:
            Shapes (n, V), newly allocated.
        """
        states, head = self._states[part].to(self._product), self._head
        if self._bias is None:
            logits = states @ self._weight.T
        else:
            logits = torch.addmm(self._bias, states, self._weight.T)
        logits = logits.to(self.dtype)
        if head.scale != 1:
            logits *= head.scale
        if head.softcap is None:
            return logits, None
        logits.div_(head.softcap).tanh_()
        slope = 1 - logits.square()
        return logits.mul_(head.softcap), slope

    def add(self, part: slice | Tensor, gradient: Tensor, slope: Tensor | None) -> None:
        """Add what the gradient of some logits comes to.

        Args:
            part: which tokens.
            gradient: shape (n, V); overwritten.
            slope: what `logits` gave with them.
        """
        if slope is not None:
            gradient.mul_(slope)
        if self._head.scale != 1:
            gradient.mul_(self._head.scale)
        of_states, of_weight, of_bias = self.gradients
        vocabulary = len(self._weight)
        product = gradient.to(self._product)
        if of_states is not None:
            of_states[part] = (product @ self._weight).to(self.dtype)
        if of_weight is not None:
            states = self._states[part].to(self._product)
            if self._product == self.dtype:
                of_weight[:vocabulary].addmm_(product.T, states)
            else:
                of_weight[:vocabulary] += product.T @ states
        if of_bias is not None:
            of_bias[:vocabulary] += gradient.sum(dim=0)
