"""The search for codes: nearest codewords first, then those that decode best.

A product quantizer chooses each code for its own slice of the latent, blind to what the decoder
makes of all slices together. Trying a few near codewords for one code after the other, and keeping
what lowers the KL, is the encoding step of additive quantization (Babenko and Lempitsky, CVPR 2014)
with the decoder's own loss. It costs the encoder some decodings a label and students nothing. On
1,000-class labels at 8 bytes, 3 candidates and one round took the KL on unseen views from 0.224 to
0.180 and the top-1 agreement from 77 % to 86 %, at a third of the speed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from labelcast_producers.neural.autoencoder import VectorQuantizedAutoencoder, beside
from labelcast_producers.neural.compute import Compute
from labelcast_producers.neural.search.decodings import log_sum_exp

# Logits of a block stay in a CPU's cache: trials ran eight times as fast as in blocks of 2**23.
_BLOCK_VALUES_CPU = 2**19
_BLOCK_VALUES = 2**24


@torch.no_grad()
def search_codes(
    model: VectorQuantizedAutoencoder,
    latents: Tensor,
    log_probabilities: Tensor,
    context: Tensor | None,
    *,
    temperature: float,
    candidates: int,
    rounds: int,
    compute: Compute,
) -> Tensor:
    """Find codes whose decoding is close to the teacher.

    Args:
        model: model whose codebooks and decoder are searched; when finished, those that are stored.
        latents: latents from `model.latents`.
        log_probabilities: float32, shape (N, C), at `temperature`.
        context: context from `model.context`.
        temperature: divisor of the decoder's logits.
        candidates: nearest codewords tried for each code; 1 leaves the nearest.
        rounds: passes over the codes; 0 leaves the nearest.
        compute: arithmetic of the trial decodings.

    Returns:
        int64, shape (N, M).
    """
    books = model.quantizer.codebooks
    candidates = min(candidates, books.shape[1])
    codes = model.quantizer.nearest(latents)
    if candidates < 2 or rounds < 1 or not codes.numel():
        return codes
    tried = model.quantizer.nearest_few(latents, candidates)
    trial = _Trial(model, log_probabilities.exp(), context, temperature, compute)
    codewords = model.quantizer.look_up(codes)
    hidden = trial.first_layer(codewords)
    best = trial.start(hidden)
    for turn in range(rounds):
        for book in range(books.shape[0]):
            # In the first round the nearest codeword is the current one.
            among = tried[:, book, (1 if turn == 0 else 0) :]
            others = hidden - trial.share(book, books[book, codes[:, book]])
            costs = trial.costs(others[:, None] + trial.share(book, books[book][among]))
            lowest, place = costs.min(dim=1)
            better = lowest < best
            found = among.gather(1, place[:, None])[:, 0]
            codes[:, book] = torch.where(better, found, codes[:, book])
            best = torch.where(better, lowest, best)
            hidden = others + trial.share(book, books[book, codes[:, book]])
    return codes


class _Trial:
    """Decodings that share all but one codeword: the first layer is a sum over the codes."""

    def __init__(
        self,
        model: VectorQuantizedAutoencoder,
        teacher: Tensor,
        context: Tensor | None,
        temperature: float,
        compute: Compute,
    ) -> None:
        self._first, *rest = model.decoder.linears
        self._width = model.shape.vqae.codeword_width
        self._teacher = teacher
        self._context = context
        self._temperature = temperature
        is_bf16 = compute.resolve(teacher.device) is Compute.BF16
        self._dtype = torch.bfloat16 if is_bf16 else torch.float32
        self._rest = [(to.weight.to(self._dtype), to.bias.to(self._dtype)) for to in rest]
        # Logits of the codes that the search starts from; keeps what is exponentiated near 0.
        self._level = torch.zeros(len(teacher), device=teacher.device)
        values = _BLOCK_VALUES_CPU if teacher.device.type == "cpu" else _BLOCK_VALUES
        self._block = max(1, values // teacher.shape[1])

    def first_layer(self, codewords: Tensor) -> Tensor:
        """Values before the first ReLU: (N, M, D) to (N, first width)."""
        hidden: Tensor = self._first(beside(codewords.flatten(1), self._context))
        return hidden

    def share(self, book: int, codewords: Tensor) -> Tensor:
        """What codewords of one book add to `first_layer`: (..., D) to (..., first width)."""
        columns = slice(book * self._width, (book + 1) * self._width)
        return codewords @ self._first.weight[:, columns].T

    def start(self, hidden: Tensor) -> Tensor:
        """Costs of the codes to start from: (N, first width) to (N,)."""
        normaliser = torch.cat(
            [
                torch.logsumexp(self._logits(part[:, None])[:, 0], dim=1)
                for part in hidden.split(self._block)
            ]
        )
        self._level = normaliser
        return self.costs(hidden[:, None])[:, 0]

    def costs(self, hidden: Tensor) -> Tensor:
        """KL to the teacher, minus the teacher's entropy: (N, n, first width) to (N, n)."""
        rows = max(1, self._block // hidden.shape[1])
        parts = zip(
            hidden.split(rows), self._teacher.split(rows), self._level.split(rows), strict=True
        )
        return torch.cat([self._block_costs(*part) for part in parts])

    def _block_costs(self, hidden: Tensor, teacher: Tensor, level: Tensor) -> Tensor:
        logits = self._logits(hidden)
        wanted = torch.bmm(logits, teacher[:, :, None])[:, :, 0]
        return log_sum_exp(logits, level) - wanted

    def _logits(self, hidden: Tensor) -> Tensor:
        """Decoded logits over the temperature: (N, n, first width) to (N, n, C), float32."""
        for weight, bias in self._rest:
            hidden = F.linear(torch.relu(hidden.to(self._dtype)), weight, bias)
        return hidden.float() / self._temperature
