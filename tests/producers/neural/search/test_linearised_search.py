"""Codes that are found by a linear model of the decoder."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from labelcast.codec import ContextShape, LabelKind, VqaeShape
from labelcast_producers.neural.autoencoder import (
    AutoencoderShape,
    VectorQuantizedAutoencoder,
    log_probabilities,
)
from labelcast_producers.neural.compute import Compute
from labelcast_producers.neural.search import linearised_search
from labelcast_producers.neural.search.code_search import search_codes
from labelcast_producers.neural.search.linearised_search import LinearisedSearch

ROWS = 60


@dataclass(frozen=True)
class Given:
    """A model, and rows to find codes for."""

    model: VectorQuantizedAutoencoder
    teacher: Tensor
    context: Tensor | None
    temperature: float

    @property
    def latents(self) -> Tensor:
        return self.model.latents(self.teacher, self.context)

    def nearest(self) -> Tensor:
        return self.model.quantizer.nearest(self.latents)

    def decoded(self) -> Tensor:
        """Codes of the search that decodes each trial."""
        return search_codes(
            self.model,
            self.latents,
            self.teacher,
            self.context,
            temperature=self.temperature,
            candidates=6,
            rounds=2,
            compute=Compute.FP32,
        )

    def linearised(self, compute: Compute = Compute.FP32) -> Tensor:
        search = LinearisedSearch(
            self.model, temperature=self.temperature, candidates=6, compute=compute
        )
        return search.codes(self.latents, self.teacher, self.context, rounds=2)

    def kls(self, codes: Tensor) -> Tensor:
        """What each row's teacher is away from what `codes` decode to: float64, shape (N,)."""
        logits = self.model.decode(self.model.quantizer.look_up(codes), self.context).double()
        decoded = torch.log_softmax(logits / self.temperature, dim=1)
        teacher = self.teacher.double()
        return (teacher.exp() * (teacher - decoded)).sum(dim=1)


@torch.no_grad()
def given(
    *,
    codes: int = 3,
    codebook_size: int = 12,
    hidden: tuple[int, ...] = (24,),
    classes: int = 40,
    temperature: float = 1.0,
    conditioned: bool = False,
    labels: Tensor | None = None,
) -> Given:
    drawn = torch.Generator().manual_seed(1)
    context = ContextShape(4) if conditioned else None
    vqae = VqaeShape(codes, codebook_size, 4, hidden, context=context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VectorQuantizedAutoencoder(AutoencoderShape(classes, vqae, (16,)))
    model.requires_grad_(False)
    # Decoders whose codes matter; those that begin a fit answer with the mean label.
    for layer in model.decoder.linears:
        layer.weight.mul_(4)
    logits = 3 * torch.randn((ROWS, classes), generator=drawn) if labels is None else labels
    teacher = log_probabilities(logits, LabelKind.LOGITS, temperature)
    width = 0 if vqae.context is None else vqae.context.width
    known = torch.randn((ROWS, width), generator=drawn) if conditioned else None
    model.start_from(teacher, known, torch.Generator().manual_seed(0), batch_rows=ROWS)
    return Given(model, teacher, known, temperature)


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("hidden", [(), (24,), (24, 16)])
@pytest.mark.parametrize(("classes", "temperature"), [(40, 1.0), (400, 1.0), (400, 4.0)])
def test_codes_are_as_good_as_those_of_decoded_trials(
    classes: int, temperature: float, hidden: tuple[int, ...], conditioned: bool
) -> None:
    task = given(classes=classes, temperature=temperature, hidden=hidden, conditioned=conditioned)
    nearest, decoded, linearised = (
        float(task.kls(codes).mean())
        for codes in (task.nearest(), task.decoded(), task.linearised())
    )
    gained = nearest - decoded
    assert gained > 0.002 * nearest
    assert linearised <= decoded + 0.05 * gained


@pytest.mark.parametrize("compute", [Compute.FP32, Compute.BF16])
@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0, 20.0])
@pytest.mark.parametrize(
    ("codes", "codebook_size"), [(1, 2), (1, 12), (3, 2), (3, 12), (8, 5), (2, 300)]
)
def test_no_code_is_worse_than_the_nearest(
    codes: int, codebook_size: int, temperature: float, compute: Compute
) -> None:
    task = given(codes=codes, codebook_size=codebook_size, temperature=temperature)
    found = task.linearised(compute)
    assert found.shape == (ROWS, codes)
    assert 0 <= int(found.min()) <= int(found.max()) < codebook_size
    assert bool((task.kls(found) <= task.kls(task.nearest()) + 1e-4).all())


def extreme_labels(classes: int) -> Tensor:
    """Zeros, ties, one class alone, and logits far beyond what an exponential holds."""
    labels = torch.zeros((ROWS, classes))
    labels[0::4, 1 % classes] = 1e4
    labels[1::4] = -1e30
    labels[1::4, 2 % classes] = 0
    labels[2::4] = torch.linspace(-1e5, 1e5, classes)
    return labels


@pytest.mark.parametrize("classes", [1, 2, 8, 9, 40])
@pytest.mark.parametrize("hidden", [(), (24,)])
def test_extreme_labels_and_few_classes_get_codes_no_worse_than_the_nearest(
    classes: int, hidden: tuple[int, ...]
) -> None:
    task = given(classes=classes, hidden=hidden, labels=extreme_labels(classes))
    kls = task.kls(task.linearised())
    assert bool(torch.isfinite(kls).all())
    assert bool((kls <= task.kls(task.nearest()) * (1 + 1e-5) + 1e-4).all())


def test_decoders_that_overflow_leave_the_nearest() -> None:
    task = given(hidden=(24, 16))
    for layer in task.model.decoder.linears:
        layer.weight.mul_(1e15)
    assert torch.equal(task.linearised(), task.nearest())


def test_a_linear_decoder_of_few_classes_is_judged_exactly() -> None:
    task = given(codes=1, codebook_size=6, hidden=(), classes=8)
    every = torch.stack([task.kls(torch.full((ROWS, 1), code)) for code in range(6)], dim=1)
    torch.testing.assert_close(task.kls(task.linearised()), every.min(dim=1).values)


def test_books_too_large_for_tables_of_neighbours_are_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = given(conditioned=True)
    tabled = float(task.kls(task.linearised()).mean())
    monkeypatch.setattr(linearised_search, "_MOST_WITH_NEIGHBOURS", 11)
    found = task.kls(task.linearised())
    nearest = task.kls(task.nearest())
    assert bool((found <= nearest + 1e-4).all())
    assert float(found.mean()) <= tabled + 0.5 * (float(nearest.mean()) - tabled)


def test_blocks_make_no_difference_and_the_same_rows_get_the_same_codes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = given(conditioned=True)
    whole = task.linearised()
    assert torch.equal(task.linearised(), whole)
    monkeypatch.setattr(linearised_search, "_BLOCK_VALUES_CPU", 7 * 26 * 24)
    # Of codes that serve equally well, either may be taken.
    torch.testing.assert_close(task.kls(task.linearised()), task.kls(whole), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("candidates", "rounds"), [(1, 2), (6, 0)])
def test_nothing_to_try_leaves_the_nearest(candidates: int, rounds: int) -> None:
    task = given()
    search = LinearisedSearch(
        task.model, temperature=1.0, candidates=candidates, compute=Compute.FP32
    )
    found = search.codes(task.latents, task.teacher, None, rounds=rounds)
    assert torch.equal(found, task.nearest())
    none = search.codes(task.latents[:0], task.teacher[:0], None, rounds=rounds)
    assert none.shape == (0, 3)
