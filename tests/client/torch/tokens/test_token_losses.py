"""Losses of tokens against the formulas, written down over all logits."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from labelcast.torch.tokens.divergences import TokenLoss
from labelcast.torch.tokens.heads.student_head import StudentHead
from labelcast.torch.tokens.losses import token_loss, token_loss_of_states
from labelcast.torch.tokens.sparse_rows import SparseRows
from labelcast.torch.tokens.teachers import NamedLabels, StateLabels
from tests.factories.token_students import MASK, STUDENT_WIDTH, leaves, logits_of, student
from tests.factories.token_teachers import (
    TEACHERS,
    TOKENS,
    VOCABULARY,
    state_labels,
    states_of,
    teacher_head,
)
from tests.factories.torch_memory import LargeTensors

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_device = pytest.mark.parametrize("device", DEVICES)
every_teacher = pytest.mark.parametrize("kind", TEACHERS)
every_loss = pytest.mark.parametrize("loss", TokenLoss)
# Three tokens of a slice: none divides the tokens, of which MASK leaves a number that is none.
SLICE = 3 * 4 * VOCABULARY


def undefined(kind: str, loss: TokenLoss) -> bool:
    """Whether a loss of these labels is infinite."""
    zeros = {"sparse-zero", "probabilities-zero", "logits-excluding"}
    return loss is TokenLoss.REVERSE_KL and kind in zeros


def assert_same(ours: Tensor, theirs: Tensor, relative: float = 1e-5) -> None:
    torch.testing.assert_close(
        ours.double(),
        theirs.double(),
        rtol=relative,
        atol=relative * float(theirs.detach().abs().max()),
    )


@every_device
@every_loss
@every_teacher
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("squared", [False, True])
def test_value_and_gradients_are_those_of_the_formula(
    kind: str, loss: TokenLoss, mask: Tensor | None, squared: bool, device: str
) -> None:
    if undefined(kind, loss):
        return
    for temperature in (1.0,) if TEACHERS[kind](1.0, device).fixed else (1.0, 2.5):
        teacher = TEACHERS[kind](temperature, device)
        variants: list[dict[str, Any]] = [
            {},
            {"bias": True, "scale": 0.7, "softcap": 2.0},
            {"padding": 3},
        ]
        for more in variants:
            states, head = student(device=device, **more)
            options: dict[str, Any] = {
                "loss": loss,
                "temperature": temperature,
                "beta": 0.3,
                "mask": mask,
                "scale_by_temperature_squared": squared,
            }
            expected = teacher.loss(logits_of(states, head)[:, :VOCABULARY], **options)
            expected_gradients = torch.autograd.grad(expected, leaves(states, head))
            found = token_loss_of_states(states, head, teacher.labels, slice_bytes=SLICE, **options)
            assert_same(found, expected)
            for ours, theirs in zip(
                torch.autograd.grad(found, leaves(states, head)), expected_gradients, strict=True
            ):
                assert_same(ours, theirs)
            logits = logits_of(states, head)
            found = token_loss(
                logits, teacher.labels, padding=head.padding, slice_bytes=SLICE, **options
            )
            assert_same(found, expected)
            for ours, theirs in zip(
                torch.autograd.grad(found, leaves(states, head)), expected_gradients, strict=True
            ):
                assert_same(ours, theirs)


@every_loss
@pytest.mark.parametrize(
    "kind", ["states-capped", "probabilities", "sparse-spread", "sparse-lumped"]
)
def test_gradients_in_double_precision_are_those_of_differences(kind: str, loss: TokenLoss) -> None:
    labels = TEACHERS[kind](1.0, "cpu").labels
    states, head = student(torch.float64, bias=True, softcap=2.0)
    assert head.bias is not None
    given = (states, head.weight, head.bias)

    def of_states(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        made = StudentHead(weight, bias, softcap=2.0)
        return token_loss_of_states(states, made, labels, loss=loss, slice_bytes=SLICE)

    assert token_loss_of_states(states, head, labels, loss=loss).dtype is torch.float64
    assert torch.autograd.gradcheck(of_states, given, fast_mode=True)
    logits = logits_of(states, head).detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda each: token_loss(each, labels, loss=loss, slice_bytes=SLICE), logits, fast_mode=True
    )


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_students_in_half_precision(dtype: torch.dtype, loss: TokenLoss) -> None:
    teacher = state_labels(1.0, "cpu")
    states, head = student(dtype, bias=True)
    options: dict[str, Any] = {"loss": loss, "temperature": 1.0, "beta": 0.5, "mask": None}
    wide = [each.detach().float().requires_grad_() for each in leaves(states, head)]
    exact = teacher.loss(
        logits_of(wide[0], StudentHead(wide[1], wide[2])),
        scale_by_temperature_squared=False,
        **options,
    )
    # As a GradScaler does it: small gradients of halves must not have been lost before.
    expected = torch.autograd.grad(exact * 1024, wide)
    found = token_loss_of_states(states, head, teacher.labels, **options)
    coarse = 2e-2 if dtype is torch.bfloat16 else 2e-3
    assert found.dtype is torch.float32
    assert_same(found, exact, coarse)
    for ours, theirs in zip(
        torch.autograd.grad(found * 1024, leaves(states, head)), expected, strict=True
    ):
        assert ours.dtype is dtype
        assert_same(ours, theirs, coarse)
    logits = logits_of(*student(torch.float32)).detach().to(dtype).requires_grad_()
    wide_logits = logits.detach().float().requires_grad_()
    exact = teacher.loss(wide_logits, scale_by_temperature_squared=False, **options)
    (of_logits,) = torch.autograd.grad(exact * 1024, wide_logits)
    found = token_loss(logits, teacher.labels, **options)
    (ours,) = torch.autograd.grad(found * 1024, logits)
    assert_same(found, exact)
    assert_same(ours, of_logits, 1e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_no_loss(dtype: torch.dtype) -> None:
    labels = state_labels(1.0, "cpu").labels
    states, head = student()
    expected = torch.autograd.grad(token_loss_of_states(states, head, labels), leaves(states, head))
    with torch.autocast("cpu", dtype):
        found = token_loss_of_states(states, head, labels)
        gradients = torch.autograd.grad(found, leaves(states, head))
    for ours, theirs in zip(gradients, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_it_can_be_gone_through_twice_and_without_gradients() -> None:
    labels = state_labels(1.0, "cpu").labels
    states, head = student()
    for loss, given in (
        (token_loss_of_states(states, head, labels), (states, head.weight)),
        (token_loss(states @ head.weight.T, labels), (states, head.weight)),
    ):
        first = torch.autograd.grad(loss, given, retain_graph=True)
        for one, other in zip(first, torch.autograd.grad(loss, given), strict=True):
            torch.testing.assert_close(one, other)
        with torch.no_grad():
            assert not token_loss_of_states(states, head, labels).requires_grad
            assert_same(token_loss_of_states(states, head, labels), loss)


def test_a_frozen_head_or_body_gets_no_gradient() -> None:
    labels = state_labels(1.0, "cpu").labels
    for frozen in (0, 1):
        given = leaves(*student())
        given[frozen].requires_grad_(False)
        token_loss_of_states(given[0], StudentHead(given[1]), labels).backward()
        assert given[frozen].grad is None
        assert given[1 - frozen].grad is not None


@pytest.mark.parametrize("changed", ["states", "weight", "labels"])
def test_buffers_that_are_filled_again_before_the_backward_pass_are_noticed(changed: str) -> None:
    rows = torch.tensor(states_of())
    labels = StateLabels(rows, teacher_head())
    states, head = student()
    loss = token_loss_of_states(states * 1, head, labels)
    logits = states @ head.weight.T
    other = token_loss(logits, labels)
    with torch.no_grad():
        {"states": logits, "weight": head.weight, "labels": rows}[changed].zero_()
    noticed = {"states": [other], "weight": [loss, other], "labels": [loss, other]}[changed]
    for each in noticed:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            each.backward(retain_graph=True)


def test_what_does_not_count_has_no_gradient() -> None:
    labels = state_labels(1.0, "cpu").labels
    states, head = student(padding=3)
    logits = logits_of(states, head).detach().requires_grad_()
    with torch.no_grad():
        logits[~MASK] = torch.nan
    token_loss(logits, labels, mask=MASK, padding=3).backward()
    token_loss_of_states(states, head, labels, mask=MASK).backward()
    assert logits.grad is not None
    assert states.grad is not None
    assert head.weight.grad is not None
    for unused in (logits.grad[~MASK], logits.grad[:, VOCABULARY:], states.grad[~MASK]):
        assert not unused.any()
    assert not head.weight.grad[VOCABULARY:].any()
    assert logits.grad[MASK][:, :VOCABULARY].all()


def test_no_more_than_a_slice_of_logits_exists() -> None:
    count, whole = 200, 200 * VOCABULARY
    labels = StateLabels(torch.tensor(states_of(count=count)), teacher_head())
    states = torch.randn(count, STUDENT_WIDTH, requires_grad=True)
    _, head = student()
    with LargeTensors(states, head.weight, *labels.kept) as large:
        token_loss_of_states(states, head, labels, slice_bytes=SLICE).backward()
    assert [size for size in large.sizes if size > max(states.numel(), 3 * VOCABULARY)] == []
    logits = (states @ head.weight.T).detach().requires_grad_()
    with LargeTensors(logits, *labels.kept) as large:
        token_loss(logits, labels, slice_bytes=SLICE).backward()
    assert [size for size in large.sizes if size > 3 * VOCABULARY] == [whole]


def test_samples_give_the_gradient_of_the_teacher_on_average() -> None:
    teacher = state_labels(1.0, "cpu")
    logits = logits_of(*student()).detach().requires_grad_()
    expected = torch.autograd.grad(
        token_loss(logits, teacher.labels, loss=TokenLoss.CROSS_ENTROPY), logits
    )[0]
    generator, draws = torch.Generator().manual_seed(3), 400
    found = []
    for _ in range(draws):
        ids = torch.multinomial(teacher.probabilities, 12, replacement=True, generator=generator)
        counts = nn.functional.one_hot(ids, VOCABULARY).sum(dim=1)
        shares, named = counts.float().div(12).sort(dim=1, descending=True)
        rows = SparseRows.of(named, shares, torch.zeros(TOKENS), lumped=False)
        labels = NamedLabels(rows, VOCABULARY, drawn=True)
        loss = token_loss(logits, labels, loss=TokenLoss.CROSS_ENTROPY)
        found.append(torch.autograd.grad(loss, logits)[0])
    gradients = torch.stack(found)
    error = gradients.std(dim=0) / draws**0.5
    assert bool(((gradients.mean(dim=0) - expected).abs() <= 5 * error + 1e-7).all())
