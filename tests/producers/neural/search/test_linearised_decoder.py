"""What a linear model says of a decoder, beside the decoder itself."""

import pytest
import torch
from torch import Tensor

from labelcast_producers.neural.autoencoder import VectorQuantizedAutoencoder
from labelcast_producers.neural.search import linearised_decoder
from labelcast_producers.neural.search.decodings import Decodings
from labelcast_producers.neural.search.linearised_decoder import LinearisedDecoder, LinearTrials
from tests.producers.neural.search.test_linearised_search import Given, given

CLASSES = 60
TRIED = 5


def trials(task: Given, steps: Tensor) -> tuple[Decodings, LinearTrials]:
    """Steps (N, M, D, n) from the nearest codewords."""
    model, teacher = task.model, task.teacher.exp()
    decodings = Decodings(model, temperature=task.temperature, dtype=torch.float32)
    linearised = LinearisedDecoder(
        model.decoder.linears,
        model.quantizer.codebooks,
        temperature=task.temperature,
        dtype=torch.float32,
    )
    there = decodings.exactly(task.nearest(), decodings.about(task.context, len(teacher)))
    likeliest = linearised.likeliest(teacher, there)
    around = linearised.around(there, likeliest, linearised.wanted(teacher))
    return decodings, around.trials(steps)


def drawn_steps(task: Given, size: float) -> Tensor:
    M, _, D = task.model.quantizer.codebooks.shape
    drawn = torch.Generator().manual_seed(3)
    return size * torch.randn((len(task.teacher), M, D, TRIED), generator=drawn)


def exact_kls(task: Given, codewords: Tensor) -> Tensor:
    """Codewords (N, M, D) to (N,)."""
    logits = task.model.decode(codewords, task.context).double() / task.temperature
    return -(task.teacher.double().exp() * torch.log_softmax(logits, dim=1)).sum(dim=1)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("hidden", [(), (24,), (24, 16)])
@torch.no_grad()
def test_small_changes_have_the_cost_that_the_decoder_gives_them(
    hidden: tuple[int, ...], conditioned: bool, temperature: float
) -> None:
    task = given(classes=CLASSES, hidden=hidden, conditioned=conditioned, temperature=temperature)
    steps = drawn_steps(task, 2e-3)
    _, tried = trials(task, steps)
    costs = tried.single_costs()
    codewords = task.model.quantizer.look_up(task.nearest())
    now = exact_kls(task, codewords)
    for book in range(steps.shape[1]):
        for number in range(TRIED):
            moved = codewords.clone()
            moved[:, book] += steps[:, book, :, number]
            expected = exact_kls(task, moved) - now
            found = costs[:, book, number].double()
            assert float((found - expected).abs().mean()) < 0.05 * float(expected.abs().mean())


@pytest.mark.parametrize("hidden", [(), (24,)])
@torch.no_grad()
def test_of_classes_that_are_not_taken_one_by_one_the_covariance_counts(
    hidden: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = given(classes=CLASSES, hidden=hidden)
    steps = drawn_steps(task, 0.3)
    every = trials(task, steps)[1].single_costs()
    monkeypatch.setattr(linearised_decoder, "_LIKELIEST", 4)
    few = trials(task, steps)[1]
    without = LinearTrials(
        few.start, few.changes.clone(), torch.zeros_like(few.halves), steps, few.curvature
    ).single_costs()
    error, error_without = (
        float((costs - every).abs().mean()) for costs in (few.single_costs(), without)
    )
    assert error < 0.3 * error_without


@torch.no_grad()
def test_changes_together_cost_what_the_model_says_of_them_all() -> None:
    task = given(classes=20, hidden=())
    steps = drawn_steps(task, 0.5)
    steps[..., 0] = 0
    tried = trials(task, steps)[1]
    place = tried.together()
    moved = steps.gather(3, place[:, :, None, None].expand(-1, -1, steps.shape[2], 1))[..., 0]
    codewords = task.model.quantizer.look_up(task.nearest())
    # All classes are taken one by one, and nothing bends: each choice is the best of its turn.
    for book in range(steps.shape[1]):
        fixed = moved.clone()
        fixed[:, book + 1 :] = 0
        kls = []
        for number in range(TRIED):
            fixed[:, book] = steps[:, book, :, number]
            kls.append(exact_kls(task, codewords + fixed))
        lowest = torch.stack(kls, dim=1)
        chosen = lowest.gather(1, place[:, book, None])[:, 0]
        torch.testing.assert_close(chosen, lowest.min(dim=1).values, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_costs_are_those_of_exact_decodings() -> None:
    task = given(classes=CLASSES, hidden=(24, 16), conditioned=True, temperature=2.0)
    decodings = Decodings(task.model, temperature=2.0, dtype=torch.float32)
    teacher = task.teacher.exp()
    about = decodings.about(task.context, len(teacher))
    drawn = torch.Generator().manual_seed(4)
    tried = torch.randint(0, 12, (len(teacher), TRIED, 3), generator=drawn)
    level = decodings.exactly(task.nearest(), about).normaliser
    costs = decodings.costs(tried, about, teacher, level)
    for number in range(TRIED):
        codes = tried[:, number]
        exactly = decodings.exactly(codes, about).costs(teacher)
        torch.testing.assert_close(costs[:, number], exactly, rtol=1e-4, atol=1e-4)
        kls = exact_kls(task, task.model.quantizer.look_up(codes)).float()
        torch.testing.assert_close(exactly, kls, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_codewords_that_change_nothing_have_a_model() -> None:
    task = given(codes=2, codebook_size=4)
    task.model.quantizer.codebooks.zero_()
    costs = trials(task, drawn_steps(task, 0.0))[1].single_costs()
    assert bool(torch.isfinite(costs).all())


def test_no_rows_are_no_trouble() -> None:
    task = given()
    model: VectorQuantizedAutoencoder = task.model
    decodings = Decodings(model, temperature=1.0, dtype=torch.float32)
    about = decodings.about(None, 0)
    none = torch.zeros((0, 3), dtype=torch.int64)
    assert decodings.exactly(none, about).logits.shape == (0, 40)


@pytest.mark.parametrize("codes", [1, 3, 40])
@torch.no_grad()
def test_blocks_are_as_large_as_the_largest_array_allows(codes: int) -> None:
    task = given(classes=CLASSES, codes=codes)
    decoder = LinearisedDecoder(
        task.model.decoder.linears,
        task.model.quantizer.codebooks,
        temperature=task.temperature,
        dtype=torch.float32,
    )
    _, tried = trials(task, drawn_steps(task, 1e-3))
    for values in (tried.curvature, tried.changes):
        assert values[0].numel() <= decoder.values_per_row
