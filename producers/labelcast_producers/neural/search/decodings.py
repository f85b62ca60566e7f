"""Decodings of many codes under one context, for a search: only what the codes change is repeated.

The first layer of a decoder is a sum over codewords and context, whose share is computed once.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from labelcast_producers.neural.autoencoder import VectorQuantizedAutoencoder

_LEAST_SUM = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, eq=False, slots=True)
class Decoded:
    """What an exact decoding says of the codes of N rows.

    Attributes:
        logits: float32, shape (N, C), over the temperature.
        normaliser: float32, shape (N,), their log-sum-exp.
        active: for each hidden layer, whether its ReLU lets through: shape (N, width).
    """

    logits: Tensor
    normaliser: Tensor
    active: list[Tensor]

    def probabilities(self) -> Tensor:
        """Of the classes: float32, shape (N, C), newly allocated."""
        return (self.logits - self.normaliser[:, None]).exp_()

    def costs(self, teacher: Tensor) -> Tensor:
        """KL to the teacher (N, C), minus the teacher's entropy: shape (N,)."""
        return self.normaliser - (self.logits * teacher).sum(dim=1)


class Decodings:
    """Decodes the codes of one finished model.

    Args:
        model: the model.
        temperature: divisor of its logits.
        dtype: arithmetic of `costs` behind the first layer; that of `exactly` is fp32.
    """

    def __init__(
        self, model: VectorQuantizedAutoencoder, *, temperature: float, dtype: torch.dtype
    ) -> None:
        self._quantizer = model.quantizer
        layers = [(layer.weight.detach(), layer.bias.detach()) for layer in model.decoder.linears]
        weight, bias = layers[-1]
        layers[-1] = weight / temperature, bias / temperature
        weight, self._first_bias = layers[0]
        M, _, D = model.quantizer.codebooks.shape
        self._of_codes, self._of_context = weight[:, : M * D], weight[:, M * D :]
        self._rest = layers[1:]
        self._dtype = dtype
        self._rest_of_costs = [(weight.to(dtype), bias.to(dtype)) for weight, bias in layers[1:]]

    def about(self, context: Tensor | None, rows: int) -> Tensor:
        """What all decodings of these rows share: shape (rows, first width).

        Args:
            context: context from `model.context`.
            rows: their number.
        """
        if context is None:
            return self._first_bias.expand(rows, -1)
        return F.linear(context, self._of_context, self._first_bias)

    def exactly(self, codes: Tensor, about: Tensor) -> Decoded:
        """Decode codes (N, M) in fp32.

        Args:
            codes: int64, shape (N, M).
            about: of the rows, from `about`.
        """
        values = self._first_layer(codes) + about
        active = []
        for weight, bias in self._rest:
            values.relu_()
            active.append(values > 0)
            values = F.linear(values, weight, bias)
        return Decoded(values, values.logsumexp(dim=1), active)

    def costs(self, tried: Tensor, about: Tensor, teacher: Tensor, level: Tensor) -> Tensor:
        """KL of each of n codes to the teacher, minus the teacher's entropy: shape (N, n).

        Args:
            tried: int64, shape (N, n, M).
            about: of the rows, from `about`.
            teacher: probabilities, shape (N, C).
            level: about the log-sum-exp of the logits, which keeps what is exponentiated near 0:
                shape (N,).
        """
        N, n, _ = tried.shape
        first = self._first_layer(tried.flatten(0, 1)).view(N, n, -1)
        values = first.add_(about[:, None]).flatten(0, 1)
        for weight, bias in self._rest_of_costs:
            values = F.linear(values.relu_().to(self._dtype), weight, bias)
        logits = values.float().view(N, n, -1)
        wanted = (logits * teacher[:, None]).sum(dim=2)
        return log_sum_exp(logits, level) - wanted

    def _first_layer(self, codes: Tensor) -> Tensor:
        """What codes add to the first layer: (N, M) to (N, first width)."""
        return F.linear(self._quantizer.look_up(codes).flatten(1), self._of_codes)


def log_sum_exp(logits: Tensor, level: Tensor) -> Tensor:
    """Log-sum-exp in half as many passes as torch's: shape (N, n).

    It is exact within 87 nats of `level`, and beyond never too small: what is chosen by it is as
    good as it seems.

    Args:
        logits: float32, shape (N, n, C), which are overwritten.
        level: takes the place of each row's maximum, which it is about: shape (N,).
    """
    sums = logits.sub_(level[:, None, None]).exp_().sum(dim=2)
    return sums.clamp_(min=_LEAST_SUM).log_() + level[:, None]
