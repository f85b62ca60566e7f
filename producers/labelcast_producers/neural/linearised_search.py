"""The search for codes with a linear model of the decoder in place of its decodings.

Around the codes of a row, logits change linearly with the codewords while no ReLU changes sides.
With ``d`` the difference of all codewords, ``z`` the logits and ``J`` their Jacobian there, the KL
to the teacher ``p`` is, up to a constant,

    log(sum over likeliest c of exp(z_c + J_c d) + rest * exp(u J d + |V J d|² / 2)) - p J d

The likeliest few classes are taken one by one. Of all others only mass, mean and variance count
(the second-order expansion of a log-sum-exp): ``u`` is their mean, and ``V`` their spread along the
directions in which the decoder's logits differ most, taken as independent of one another. Trying a
codeword then costs a few hundred products instead of half a million, whatever the number of
classes. The Jacobian of these few rows is that of one backward pass.

Each round begins with an exact decoding and moves the linear model there. The codes with the lowest
exact KL of all rounds win, the nearest codewords among them, so that a poor model costs quality
but never a worse code than the nearest.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from labelcast_producers.neural.autoencoder import VectorQuantizedAutoencoder, beside
from labelcast_producers.neural.compute import Compute

_LIKELIEST = 32
_DIRECTIONS = 32
# Subspace iteration with a few directions to spare finds those that matter.
_SPARE_DIRECTIONS = 8
_ITERATIONS = 4
# The Jacobians of a block stay in a CPU's cache.
_BLOCK_VALUES_CPU = 2**22
_BLOCK_VALUES = 2**26
# Of larger codebooks, neighbours of all codewords would take longer to find than most encodings.
_MOST_WITH_NEIGHBOURS = 4096
_LARGEST_EXPONENT = 70.0
_TINY = 1e-30


class LinearisedSearch:
    """Finds codes for one finished model.

    Args:
        model: model whose codebooks and decoder are searched.
        temperature: divisor of the decoder's logits.
        candidates: codewords tried for each code in a round, the present one among them.
        compute: arithmetic of the linear model; decodings that decide are in fp32.
    """

    def __init__(
        self,
        model: VectorQuantizedAutoencoder,
        *,
        temperature: float,
        candidates: int,
        compute: Compute,
    ) -> None:
        self._model = model
        self._books = model.quantizer.codebooks
        M, K, D = self._books.shape
        device = self._books.device
        is_bf16 = compute.resolve_for_search(device) is Compute.BF16
        self._dtype = torch.bfloat16 if is_bf16 else torch.float32
        *self._hidden, last = model.decoder.linears
        self._weight = last.weight.detach() / temperature
        self._bias = last.bias.detach() / temperature
        self._last = self._weight.to(self._dtype)
        C, width = self._weight.shape
        self._likeliest = min(_LIKELIEST, C)
        directions = _main_directions(self._weight, min(_DIRECTIONS, C, width))
        spreads = self._weight @ directions
        self._moments = torch.cat([spreads, spreads.square()], dim=1)
        self._directions = directions.T.to(self._dtype)
        first = self._hidden[0].weight.detach() if self._hidden else self._weight
        self._first = first[:, : M * D].to(self._dtype)
        self._middle = [layer.weight.detach().to(self._dtype) for layer in self._hidden[1:]]
        self._book_numbers = torch.arange(M, device=device)
        self._candidates = min(candidates, K)
        self._neighbours = _neighbours(self._books, self._candidates)
        values = _BLOCK_VALUES_CPU if device.type == "cpu" else _BLOCK_VALUES
        rows = self._likeliest + 2 + len(self._directions)
        self._block = max(1, values // max(C, rows * width))

    @torch.no_grad()
    def codes(
        self, latents: Tensor, log_probabilities: Tensor, context: Tensor | None, *, rounds: int
    ) -> Tensor:
        """Find codes whose decoding is close to the teacher.

        Args:
            latents: latents from `model.latents`.
            log_probabilities: float32, shape (N, C), at the temperature.
            context: context from `model.context`.
            rounds: passes over the codes; 0 leaves the nearest.

        Returns:
            int64, shape (N, M).
        """
        codes = self._model.quantizer.nearest(latents)
        if self._candidates < 2 or rounds < 1 or not codes.numel():
            return codes
        found = []
        for start in range(0, len(codes), self._block):
            part = slice(start, start + self._block)
            about = None if context is None else context[part]
            teacher = log_probabilities[part].exp()
            found.append(self._search(codes[part], teacher, about, latents[part], rounds))
        return torch.cat(found)

    def _search(
        self,
        codes: Tensor,
        teacher: Tensor,
        context: Tensor | None,
        latents: Tensor,
        rounds: int,
    ) -> Tensor:
        kept, best = codes, torch.full_like(teacher[:, 0], torch.inf)
        wanted = teacher.to(self._dtype) @ self._last
        likeliest: Tensor | None = None
        for turn in range(rounds + 1):
            there = self._decode(codes, teacher, context)
            better = there.costs < best
            kept = torch.where(better[:, None], codes, kept)
            best = torch.where(better, there.costs, best)
            if turn < rounds:
                shares = there.log_probabilities.exp()
                if likeliest is None:
                    both = teacher + shares
                    likeliest = both.topk(self._likeliest, dim=1, sorted=False).indices
                model = self._linearise(there, shares, likeliest, wanted)
                codes = self._improve(codes, model, self._near(codes, latents))
        return kept

    def _near(self, codes: Tensor, latents: Tensor) -> Tensor:
        """Codewords to try, the present ones among them: int64, shape (N, M, n)."""
        if self._neighbours is not None:
            return self._neighbours[self._book_numbers, codes]
        few = self._model.quantizer.nearest_few(latents, self._candidates - 1)
        return torch.cat([codes[..., None], few], dim=2)

    def _decode(self, codes: Tensor, teacher: Tensor, context: Tensor | None) -> "_Decoded":
        """Decode exactly, in fp32."""
        hidden = beside(self._model.quantizer.look_up(codes).flatten(1), context)
        active = []
        for layer in self._hidden:
            hidden = torch.relu_(layer(hidden))
            # Products of two types take several times as long as those of one.
            active.append((hidden > 0).to(self._dtype))
        logits = F.linear(hidden, self._weight, self._bias)
        normaliser = logits.logsumexp(dim=1, keepdim=True)
        wanted = torch.linalg.vecdot(teacher, logits)
        return _Decoded(logits.sub_(normaliser), normaliser[:, 0] - wanted, active)

    def _linearise(
        self, there: "_Decoded", shares: Tensor, likeliest: Tensor, wanted: Tensor
    ) -> "_LinearModel":
        """The linear model around decoded codes.

        Args:
            there: codes as decoded.
            shares: probabilities decoded, which are overwritten.
            likeliest: int64, shape (N, k), classes that are taken one by one.
            wanted: mean weights of the classes under the teacher, shape (N, width).
        """
        others = shares.scatter_(1, likeliest, 0)
        mass = others.sum(dim=1, keepdim=True).clamp_(min=_TINY)
        others /= mass
        mean, square = (others @ self._moments).chunk(2, dim=1)
        spread = (square - mean.square()).clamp_(min=0).sqrt_()
        k, d = likeliest.shape[1], len(self._directions)
        rows = torch.empty(
            (len(others), k + 2 + d, self._last.shape[1]),
            dtype=self._dtype,
            device=others.device,
        )
        rows[:, :k] = F.embedding(likeliest, self._last)
        rows[:, k] = others.to(self._dtype) @ self._last
        rows[:, k + 1] = wanted
        rows[:, k + 2 :] = self._directions
        start = torch.cat([there.log_probabilities.gather(1, likeliest), mass.log()], dim=1)
        slopes = self._back_to_codewords(rows, there.active)
        spreads = slopes[:, :, k + 2 :] * spread[:, None, :, None]
        return _LinearModel(start, slopes[:, :, : k + 2], spreads)

    def _back_to_codewords(self, rows: Tensor, active: list[Tensor]) -> Tensor:
        """Weights on the last hidden layer to slopes: (N, R, width) to float32 (N, M, R, D)."""
        M, _, D = self._books.shape
        for weight, on in zip(reversed(self._middle), reversed(active[1:]), strict=True):
            rows = rows.mul_(on[:, None]) @ weight
        if active:
            rows = rows.mul_(active[0][:, None]) @ self._first
        slopes: Tensor = rows[..., : M * D].float()
        return slopes.view(*slopes.shape[:2], M, D).transpose(1, 2)

    def _improve(self, codes: Tensor, model: "_LinearModel", near: Tensor) -> Tensor:
        """Choose one code after the other: (N, M) and candidates (N, M, n) to (N, M)."""
        books = self._books
        present = books[self._book_numbers, codes]
        steps = books[self._book_numbers[:, None], near] - present[:, :, None]
        steps = steps.transpose(2, 3)
        changes, spreads = model.slopes @ steps, model.spreads @ steps
        halves = spreads.square().sum(dim=2) / 2
        zero = torch.zeros_like(codes[:, :1], dtype=changes.dtype)
        now = torch.cat([model.start, zero], dim=1)[:, :, None]
        spread = torch.zeros_like(spreads[:, 0, :, :1])
        chosen = []
        for book in range(books.shape[0]):
            sums = changes[:, book] + now
            exponents, wanted = sums[:, :-1], sums[:, -1]
            crossed = (spreads[:, book] * spread).sum(dim=1)
            exponents[:, -1] += halves[:, book] + crossed + spread.square().sum(dim=1) / 2
            total = exponents.clamp(max=_LARGEST_EXPONENT).exp_().sum(dim=1)
            place = (total.log_() - wanted).min(dim=1).indices
            at = place[:, None, None]
            now = now + changes[:, book].take_along_dim(at, dim=2)
            spread = spread + spreads[:, book].take_along_dim(at, dim=2)
            chosen.append(near[:, book].take_along_dim(place[:, None], dim=1))
        return torch.cat(chosen, dim=1)


@dataclass(frozen=True, eq=False, slots=True)
class _Decoded:
    """What exact decodings say of the codes of N rows.

    Attributes:
        log_probabilities: float32, shape (N, C).
        costs: float32, shape (N,): KL to the teacher, minus the teacher's entropy.
        active: for each hidden layer, 1 where its ReLU lets through, else 0: shape (N, width), in
            the type of the linear model.
    """

    log_probabilities: Tensor
    costs: Tensor
    active: list[Tensor]


@dataclass(frozen=True, eq=False, slots=True)
class _LinearModel:
    """The decoder around the codes of N rows; k is the number of likeliest classes.

    Attributes:
        start: log-probabilities of the likeliest, and of all others together: shape (N, k + 1).
        slopes: how codewords change the logits of the likeliest, the mean logit of all others, and
            the teacher's: shape (N, M, k + 2, D).
        spreads: how they change the others' logits in their main directions, in standard
            deviations: shape (N, M, d, D).
    """

    start: Tensor
    slopes: Tensor
    spreads: Tensor


def _main_directions(weight: Tensor, count: int) -> Tensor:
    """Orthonormal directions in which rows (C, width) differ most, about: shape (width, count)."""
    centred = weight - weight.mean(dim=0)
    generator = torch.Generator().manual_seed(0)
    width = weight.shape[1]
    drawn = torch.randn((width, min(width, count + _SPARE_DIRECTIONS)), generator=generator)
    basis = drawn.to(weight.device)
    for _ in range(_ITERATIONS):
        basis, _ = torch.linalg.qr(centred.T @ (centred @ basis))
    _, _, turned = torch.linalg.svd(centred @ basis, full_matrices=False)
    directions: Tensor = (basis @ turned.T)[:, :count]
    return directions


def _neighbours(books: Tensor, count: int) -> Tensor | None:
    """For each codeword the `count` nearest of its book, itself among them: shape (M, K, count)."""
    if not len(books) or books.shape[1] > _MOST_WITH_NEIGHBOURS:
        return None
    return torch.stack(
        [torch.cdist(book, book).topk(count, dim=1, largest=False).indices for book in books]
    )
