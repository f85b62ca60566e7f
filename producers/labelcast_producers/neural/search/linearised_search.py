"""The search for codes with a linear model of the decoder in place of most of its decodings.

Each round decodes a row's codes exactly and takes a linear model there (`LinearisedDecoder`). By it
the round proposes codes that are good together, chosen one after the other, and the few single
changes that promise most. These are decoded, and so are all single changes together that turned out
to be good. What has the lowest KL goes on; the lowest exact KL of all rounds wins, the nearest
codewords among them, so that a poor model costs quality but never a worse code than the nearest.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from labelcast_producers.neural.autoencoder import VectorQuantizedAutoencoder
from labelcast_producers.neural.compute import Compute
from labelcast_producers.neural.search.decodings import Decodings
from labelcast_producers.neural.search.linearised_decoder import LinearisedDecoder, LinearModel

_SINGLE_CHANGES = 3
# The Jacobians of a block stay in a CPU's cache.
_BLOCK_VALUES_CPU = 2**22
_BLOCK_VALUES = 2**26
# Of larger codebooks, neighbours of all codewords would take longer to find than most encodings.
_MOST_WITH_NEIGHBOURS = 4096

_Judge = Callable[[Tensor], Tensor]


class LinearisedSearch:
    """Finds codes for one finished model.

    Args:
        model: model whose codebooks and decoder are searched.
        temperature: divisor of the decoder's logits.
        candidates: codewords tried for each code in a round, the present one among them.
        compute: arithmetic of the linear model and of what it proposes; what a round ends with is
            compared in fp32.
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
        M, K, _ = self._books.shape
        device = self._books.device
        self._candidates = min(candidates, K)
        if not M or self._candidates < 2:
            return
        is_bf16 = compute.resolve_for_search(device) is Compute.BF16
        dtype = torch.bfloat16 if is_bf16 else torch.float32
        self._decodings = Decodings(model, temperature=temperature, dtype=dtype)
        self._linearised = LinearisedDecoder(
            model.decoder.linears, self._books, temperature=temperature, dtype=dtype
        )
        self._book_numbers = torch.arange(M, device=device)
        self._neighbours = _neighbours(self._books, self._candidates)
        self._single_changes = min(_SINGLE_CHANGES, M * (self._candidates - 1))
        values = _BLOCK_VALUES_CPU if device.type == "cpu" else _BLOCK_VALUES
        self._block = max(1, values // self._linearised.values_per_row)

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
        about = self._decodings.about(context, len(codes))
        wanted = self._linearised.wanted(teacher)
        kept, best = codes, torch.full_like(teacher[:, 0], torch.inf)
        likeliest: Tensor | None = None
        for turn in range(rounds + 1):
            there = self._decodings.exactly(codes, about)
            costs = there.costs(teacher)
            better = costs < best
            kept = torch.where(better[:, None], codes, kept)
            best = torch.where(better, costs, best)
            if turn < rounds:
                if likeliest is None:
                    likeliest = self._linearised.likeliest(teacher, there)
                model = self._linearised.around(there, likeliest, wanted)
                judge = partial(
                    self._decodings.costs, about=about, teacher=teacher, level=there.normaliser
                )
                codes = self._improve(codes, costs, model, self._near(codes, latents), judge)
        return kept

    def _improve(
        self, codes: Tensor, costs: Tensor, model: LinearModel, near: Tensor, judge: _Judge
    ) -> Tensor:
        """Better codes, if the model proposes any.

        Args:
            codes: present codes, shape (N, M).
            costs: theirs, shape (N,).
            model: the decoder around them.
            near: codewords to try, shape (N, M, n).
            judge: gives the costs (N, t) of codes (N, t, M).
        """
        present = self._books[self._book_numbers, codes]
        steps = self._books[self._book_numbers[:, None], near].sub_(present[:, :, None])
        trials = model.trials(steps.transpose(2, 3).contiguous())
        together = near.gather(2, trials.together()[..., None]).transpose(1, 2)
        books, changes = self._most_promising(codes, near, trials.single_costs())
        singles = codes[:, None].repeat(1, books.shape[1], 1)
        singles.scatter_(2, books[..., None], changes[..., None])
        proposed = torch.cat([together, singles], dim=1)
        found = judge(proposed)
        all_good = codes.clone()
        # The most promising change of a code comes last and stays.
        for number in reversed(range(books.shape[1])):
            book, change = books[:, number, None], changes[:, number, None]
            helps = found[:, 1 + number, None] < costs[:, None]
            all_good.scatter_(1, book, torch.where(helps, change, all_good.gather(1, book)))
        tried = torch.cat([codes[:, None], proposed, all_good[:, None]], dim=1)
        found = torch.cat([costs[:, None], found, judge(all_good[:, None])], dim=1)
        # The minimum of anything and NaN, which overflows leave, would be NaN.
        best = found.nan_to_num(nan=torch.inf).min(dim=1).indices[:, None, None]
        return tried.gather(1, best.expand(-1, 1, tried.shape[2]))[:, 0]

    def _near(self, codes: Tensor, latents: Tensor) -> Tensor:
        """Codewords to try, the present ones among them: int64, shape (N, M, n)."""
        if self._neighbours is not None:
            return self._neighbours[self._book_numbers, codes]
        few = self._model.quantizer.nearest_few(latents, self._candidates - 1)
        return torch.cat([codes[..., None], few], dim=2)

    def _most_promising(self, codes: Tensor, near: Tensor, costs: Tensor) -> tuple[Tensor, Tensor]:
        """The single changes of lowest cost, best first: their books and codes, (N, changes)."""
        costs = costs.masked_fill(near == codes[..., None], torch.inf).flatten(1)
        places = costs.topk(self._single_changes, dim=1, largest=False).indices
        return places // near.shape[2], near.flatten(1).gather(1, places)


def _neighbours(books: Tensor, count: int) -> Tensor | None:
    """For each codeword the `count` nearest of its book, itself among them: shape (M, K, count)."""
    if books.shape[1] > _MOST_WITH_NEIGHBOURS:
        return None
    return torch.stack(
        [torch.cdist(book, book).topk(count, dim=1, largest=False).indices for book in books]
    )
