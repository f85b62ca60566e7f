"""Product quantizer: M codebooks that follow the encoder.

VQ-VAE (van den Oord et al., arXiv 1711.00937) with codebooks moved by exponential moving averages
(its appendix A.1) instead of by gradients, started from k-means, and with unused codewords moved to
where the latents are (Jukebox, arXiv 2005.00341). Unused codewords are the usual way in which such
a fit fails: it continues with a fraction of its bits.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BLOCK_BYTES = 2**26
_KMEANS_ROUNDS = 10
# Below this moving count a mean is rounding noise, and the codeword stays where it is.
_MIN_COUNT = 1e-3


class ProductQuantizer(nn.Module):
    """M codebooks of K codewords of width D, one for each slice of a latent.

    Args:
        codes: number of codebooks, M.
        codebook_size: codewords per codebook, K.
        codeword_width: values per codeword, D.
    """

    codebooks: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, codes: int, codebook_size: int, codeword_width: int) -> None:
        super().__init__()
        shape = (codes, codebook_size, codeword_width)
        self.register_buffer("codebooks", torch.zeros(shape))
        self.register_buffer("counts", torch.ones(shape[:2]))
        self.register_buffer("sums", torch.zeros(shape))
        self.register_buffer("_first", torch.arange(codes) * codebook_size, persistent=False)

    @torch.no_grad()
    def nearest(self, latents: Tensor) -> Tensor:
        """Codes of the nearest codewords.

        Args:
            latents: float32, shape (N, M, D).

        Returns:
            int64, shape (N, M).
        """
        if not self.codebooks.shape[0]:
            return latents.new_zeros((len(latents), 0), dtype=torch.int64)
        codes = [_argmin(distances).T for distances in self._distances(latents)]
        return torch.cat(codes)

    @torch.no_grad()
    def nearest_few(self, latents: Tensor, count: int) -> Tensor:
        """Codes of the `count` nearest codewords: int64, shape (N, M, count), nearest first."""
        codes = [
            distances.topk(count, dim=2, largest=False).indices.transpose(0, 1)
            for distances in self._distances(latents)
        ]
        return torch.cat(codes)

    def look_up(self, codes: Tensor) -> Tensor:
        """Codewords of `codes` (N, M): float32, shape (N, M, D), without gradient."""
        return F.embedding(codes + self._flat_first(), self.codebooks.flatten(0, 1))

    @torch.no_grad()
    def follow(self, latents: Tensor, codes: Tensor, *, decay: float) -> None:
        """Move every codeword towards the mean of the latents that chose it.

        Args:
            latents: float32, shape (N, M, D).
            codes: int64, shape (N, M): the output of `nearest` for them.
            decay: decay of the moving averages.
        """
        counts, sums = self._totals(latents, codes)
        self.counts.lerp_(counts, 1 - decay)
        self.sums.lerp_(sums, 1 - decay)
        means = self.sums / self.counts.clamp(min=_MIN_COUNT)[..., None]
        self.codebooks.copy_(
            torch.where((self.counts > _MIN_COUNT)[..., None], means, self.codebooks)
        )

    @torch.no_grad()
    def revive(self, latents: Tensor, generator: torch.Generator, *, below: float) -> None:
        """Move codewords that too few latents choose onto latents drawn at random.

        Args:
            latents: float32, shape (N, M, D), N at least 1.
            generator: a CPU generator, so that every device draws the same.
            below: share of an even use of the codebook under which a codeword counts as dead.
        """
        M, K, _ = self.codebooks.shape
        if not M:
            return
        even_use = len(latents) / K
        drawn = self._draw(latents, generator)
        # As many draws as codewords, needed or not: counting the dead would stall a GPU.
        dead = self.counts < below * even_use
        self.codebooks.copy_(torch.where(dead[..., None], drawn, self.codebooks))
        self.sums.copy_(torch.where(dead[..., None], drawn * even_use, self.sums))
        self.counts.masked_fill_(dead, even_use)

    @torch.no_grad()
    def start_from(self, latents: Tensor, generator: torch.Generator, *, batch_rows: int) -> None:
        """Place the codewords by k-means.

        Args:
            latents: float32, shape (N, M, D), N at least 1; several times K for a good start,
                fewer than K leaves codewords on top of one another, to be moved by `revive`.
            generator: a CPU generator.
            batch_rows: rows of a later `follow`, to which the moving counts are set.
        """
        if not self.codebooks.shape[0]:
            return
        self.codebooks.copy_(self._draw(latents, generator))
        for _ in range(_KMEANS_ROUNDS):
            counts, sums = self._totals(latents, self.nearest(latents))
            means = sums / counts.clamp(min=1)[..., None]
            drawn = self._draw(latents, generator)
            self.codebooks.copy_(torch.where((counts > 0)[..., None], means, drawn))
        even_use = batch_rows / self.codebooks.shape[1]
        self.counts.fill_(even_use)
        self.sums.copy_(self.codebooks * even_use)

    def _distances(self, latents: Tensor) -> Iterator[Tensor]:
        """Squared distances up to a constant of each row, in blocks of rows: (M, n, K)."""
        M, K, _ = self.codebooks.shape
        norms = self.codebooks.square().sum(dim=2)[:, None, :]
        directions = self.codebooks.transpose(1, 2)
        for part in latents.detach().split(max(1, _BLOCK_BYTES // (4 * M * K))):
            yield torch.baddbmm(norms, part.transpose(0, 1), directions, alpha=-2)

    def _draw(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        """A random latent for every codeword: shape (M, K, D)."""
        M, K, _ = self.codebooks.shape
        if len(latents) >= K:
            order = torch.stack(
                [torch.randperm(len(latents), generator=generator)[:K] for _ in range(M)]
            )
        else:
            order = torch.randint(len(latents), (M, K), generator=generator)
        order = order.to(latents.device)
        return latents.detach()[order, torch.arange(M, device=latents.device)[:, None]]

    def _totals(self, latents: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """How many latents chose each codeword (M, K), and their sums (M, K, D)."""
        M, K, D = self.codebooks.shape
        flat = (codes + self._flat_first()).flatten()
        counts = torch.bincount(flat, minlength=M * K).to(self.counts.dtype)
        sums = latents.new_zeros((M * K, D)).index_add_(0, flat, latents.detach().reshape(-1, D))
        return counts.reshape(M, K), sums.reshape(M, K, D)

    def _flat_first(self) -> Tensor:
        first: Tensor = self._first  # type: ignore[assignment]
        return first


def straight_through(latents: Tensor, codewords: Tensor) -> Tensor:
    """Codewords going forward, the gradient of the latents going back (arXiv 1711.00937, § 3.2)."""
    return latents + (codewords - latents).detach()


def _argmin(distances: Tensor) -> Tensor:
    if distances.device.type == "cpu":
        # torch's argmin over the last axis took 10 times as long on CPU (4.6 against 0.4 ms).
        return torch.from_numpy(distances.numpy().argmin(axis=-1))
    return distances.argmin(dim=-1)
