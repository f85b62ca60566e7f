"""A decoder as it changes with the codewords around one choice of them.

Logits change linearly with the codewords while no ReLU changes ways. With ``d`` the difference of
all codewords, ``z`` the log-probabilities and ``J`` the Jacobian there, the KL to the teacher ``p``
is, up to a constant,

    log(sum over likeliest c of exp(z_c + J_c d) + rest * exp(u J d + dᵀ H d / 2)) - p J d

The likeliest few classes are taken one by one. Of all others only mass, mean ``u`` and covariance
``H`` of their changes count: the second-order expansion of a log-sum-exp. The covariance is taken
in the few directions in which codewords change the decoder's logits most. Trying a codeword then
costs a few hundred products instead of half a million, whatever the number of classes. The Jacobian
of these few rows is that of one backward pass.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelcast_producers.neural.search.decodings import Decoded

_LIKELIEST = 24
_DIRECTIONS = 24
_TINY = 1e-30
_LEAST_POWER = 1e-6
# The sum of a million exponentials of it is still finite in fp32.
_LARGEST_EXPONENT = 70.0


class LinearisedDecoder:
    """Makes linear models of one finished decoder.

    Args:
        layers: linear layers of the decoder, ReLUs between them; the codewords come first in the
            input.
        books: codebooks, shape (M, K, D).
        temperature: divisor of the logits.
        dtype: arithmetic of the models' slopes.
    """

    def __init__(
        self, layers: list[nn.Linear], books: Tensor, *, temperature: float, dtype: torch.dtype
    ) -> None:
        *hidden, last = (layer.weight.detach() for layer in layers)
        last = last / temperature
        self._shape = M, D = books.shape[0], books.shape[2]
        self._dtype = dtype
        C, width = last.shape
        self._last = last.to(dtype)
        self._likeliest = min(_LIKELIEST, C)
        ways, power = _main_changes(hidden, last, books)
        ways = ways[:, :_DIRECTIONS]
        # What other ways add counts as if it were in these.
        self._scale = float(power.sum() / power[:_DIRECTIONS].sum().clamp(min=_TINY))
        self._directions = (ways.T @ last).to(dtype)
        # A symmetric matrix of moments is made of its upper half.
        d = ways.shape[1]
        one, other = torch.triu_indices(d, d, device=ways.device)
        moments = torch.cat([last, ways, ways[:, one] * ways[:, other]], dim=1)
        self._moments = moments.to(dtype)
        places = torch.empty((d, d), dtype=torch.int64, device=ways.device)
        places[one, other] = places[other, one] = torch.arange(len(one), device=ways.device)
        self._places = places.flatten()
        first = hidden[0] if hidden else torch.eye(width, device=last.device)
        self._first = first[:, : M * D].to(dtype)
        self._middle = [weight.to(dtype) for weight in hidden[1:]]
        # Of a row's largest array.
        self.values_per_row = max(
            C, (self._likeliest + 2 + d) * max(width, M * D), (M * D) ** 2, len(one)
        )

    def wanted(self, teacher: Tensor) -> Tensor:
        """Mean weights of the classes under the teacher: (N, C) to (N, width)."""
        return teacher.to(self._dtype) @ self._last

    def likeliest(self, teacher: Tensor, there: Decoded) -> Tensor:
        """Classes to take one by one: int64, shape (N, k)."""
        both = there.probabilities().add_(teacher)
        return both.topk(self._likeliest, dim=1, sorted=False).indices

    def around(self, there: Decoded, likeliest: Tensor, wanted: Tensor) -> "LinearModel":
        """The linear model around decoded codes.

        Args:
            there: codes as decoded.
            likeliest: from `likeliest`.
            wanted: from `wanted`.
        """
        start = there.logits.gather(1, likeliest) - there.normaliser[:, None]
        others = there.probabilities().scatter_(1, likeliest, 0)
        mass = others.sum(dim=1, keepdim=True).clamp_(min=_TINY)
        others /= mass
        k, d = likeliest.shape[1], len(self._directions)
        rows = torch.empty(
            (len(others), k + 2 + d, self._last.shape[1]), dtype=self._dtype, device=others.device
        )
        means = others.to(self._dtype) @ self._moments
        on = there.active[-1] if there.active else torch.ones_like(wanted)
        on = on.to(self._dtype)[:, None]
        torch.mul(F.embedding(likeliest, self._last), on, out=rows[:, :k])
        torch.mul(means[:, None, : rows.shape[2]], on, out=rows[:, k : k + 1])
        torch.mul(wanted[:, None], on, out=rows[:, k + 1 : k + 2])
        torch.mul(self._directions, on, out=rows[:, k + 2 :])
        slopes = self._back_to_codewords(rows, there.active[:-1])
        main = slopes[:, k + 2 :]
        covariance = self._covariance(means[:, rows.shape[2] :].float())
        curvature = main.transpose(1, 2) @ (covariance @ main)
        M, D = self._shape
        by_book = slopes[:, : k + 2].view(-1, k + 2, M, D).transpose(1, 2)
        return LinearModel(torch.cat([start, mass.log()], dim=1), by_book, curvature)

    def _covariance(self, moments: Tensor) -> Tensor:
        """Of logits in the main directions: their first and second moments to (N, d, d)."""
        d = len(self._directions)
        mean, square = moments.split([d, moments.shape[1] - d], dim=1)
        covariance: Tensor = square.index_select(1, self._places).view(-1, d, d)
        covariance -= mean[:, :, None] * mean[:, None]
        covariance *= self._scale
        return covariance

    def _back_to_codewords(self, rows: Tensor, active: list[Tensor]) -> Tensor:
        """Weights on the last hidden layer to slopes: (N, R, width) to float32 (N, R, M * D).

        Args:
            rows: weights that are 0 where the last hidden layer is.
            active: of the hidden layers before.
        """
        for weight, on in zip(reversed(self._middle), reversed(active), strict=True):
            rows = (rows @ weight).mul_(on[:, None].to(self._dtype))
        return (rows @ self._first).float()


@dataclass(frozen=True, eq=False, slots=True)
class LinearModel:
    """The decoder around the codes of N rows; k is the number of likeliest classes.

    Attributes:
        start: log-probabilities of the likeliest, and of all others together: shape (N, k + 1).
        slopes: how codewords change the logits of the likeliest, the mean logit of all others, and
            the teacher's: shape (N, M, k + 2, D).
        curvature: covariance of the others' logits by codewords: shape (N, M * D, M * D).
    """

    start: Tensor
    slopes: Tensor
    curvature: Tensor

    def trials(self, steps: Tensor) -> "LinearTrials":
        """What codewords would do that are steps (N, M, D, n) away."""
        N, M, D, _ = steps.shape
        own = self.curvature.view(N, M, D, M, D).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        halves = (own @ steps).mul_(steps).sum(dim=2).div_(2)
        zero = self.start.new_zeros((N, 1))
        start = torch.cat([self.start, zero], dim=1)[:, :, None]
        return LinearTrials(start, self.slopes @ steps, halves, steps, self.curvature)


@dataclass(frozen=True, eq=False, slots=True)
class LinearTrials:
    """Codewords to try, as a linear model sees them.

    Attributes:
        start: exponents of the model, and 0: shape (N, k + 2, 1).
        changes: of these: shape (N, M, k + 2, n).
        halves: half the variance of the others' logits: shape (N, M, n).
        steps: differences of codewords: shape (N, M, D, n).
        curvature: of the model.
    """

    start: Tensor
    changes: Tensor
    halves: Tensor
    steps: Tensor
    curvature: Tensor

    def single_costs(self) -> Tensor:
        """How much higher the KL is after each change alone: shape (N, M, n)."""
        return _costs(self.changes + self.start[:, None], self.halves)

    def together(self) -> Tensor:
        """Changes that are good together, chosen one code after the other: int64, (N, M)."""
        N, M, D, _ = self.steps.shape
        now, chosen = self.start, []
        moved = self.steps.new_zeros((N, 1, M * D))
        half = self.halves.new_zeros((N, 1))
        for book in range(M):
            part = slice(book * D, (book + 1) * D)
            steps = self.steps[:, book]
            bent = (self.curvature[:, part] * moved).sum(dim=2, keepdim=True).mul(steps).sum(dim=1)
            halves = self.halves[:, book] + bent + half
            place = _costs(self.changes[:, book] + now, halves).min(dim=1, keepdim=True).indices
            now = now + _take(self.changes[:, book], place)
            moved[:, 0, part] = _take(steps, place)[..., 0]
            half = halves.gather(1, place)
            chosen.append(place)
        return torch.cat(chosen, dim=1)


def _costs(exponents: Tensor, halves: Tensor) -> Tensor:
    """Exponents (…, k + 2, n), which are overwritten, and half-variances (…, n) to costs (…, n)."""
    wanted = exponents[..., -1, :]
    exponents = exponents[..., :-1, :]
    exponents[..., -1, :] += halves
    return exponents.clamp_(max=_LARGEST_EXPONENT).exp_().sum(dim=-2).log_().sub_(wanted)


def _take(values: Tensor, place: Tensor) -> Tensor:
    """The columns at `place`: (N, R, n) and (N, 1) to (N, R, 1)."""
    return values.gather(2, place[:, None].expand(-1, values.shape[1], 1))


def _main_changes(hidden: list[Tensor], last: Tensor, books: Tensor) -> tuple[Tensor, Tensor]:
    """Orthogonal ways in which codewords change the logits, the greatest first, and how much.

    Codewords are taken to be chosen evenly, and each ReLU to be open for half of them, whatever the
    others do.

    Args:
        hidden: weights of the layers before the last; codewords come first in the input.
        last: weights of the last layer.
        books: codebooks, shape (M, K, D).

    Returns:
        Ways, shape (C, w), and the power of each, shape (w,), up to a factor.
    """
    centred = books - books.mean(dim=1, keepdim=True)
    spread = torch.block_diag(*(book.T @ book / len(book) for book in centred))
    for layer in hidden:
        weight = _scaled(layer[:, : len(spread)])
        spread = weight @ _scaled(spread) @ weight.T
        spread = (spread + spread.diagonal().diag()) / 4
    last = last[:, : len(spread)]
    root = _root(spread)
    changes = _scaled(last - last.mean(dim=0)) @ root
    power, turns = torch.linalg.eigh(changes.T @ changes)
    power, turns = power.flip(0).clamp(min=0), turns.flip(1)
    # Of no power is what rounding left.
    power[power < _LEAST_POWER * power[0]] = 0
    ways = changes @ turns / power.sqrt().clamp(min=_TINY)
    return ways * (power > 0), power


def _root(spread: Tensor) -> Tensor:
    """A matrix whose square is the spread, up to a factor and a rotation: shape (width, width)."""
    values, vectors = torch.linalg.eigh(_scaled(spread))
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root


def _scaled(matrix: Tensor) -> Tensor:
    """At most 1 everywhere: products of what a fit that went astray left could overflow."""
    largest: Tensor = matrix.abs().max().clamp(min=_TINY)
    return matrix / largest
