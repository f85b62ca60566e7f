"""Losses against closed forms."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from labelcast.codec import LabelKind
from labelcast.errors import ContractMismatchError, InvalidRequestError
from labelcast.torch import mixed_hard_loss, soft_label_loss
from labelcast.torch.losses import (
    Loss,
    cosine_loss,
    distillation_loss,
    mse_hard_loss,
    soft_cross_entropy,
)

LOGITS, PROBABILITIES = LabelKind.LOGITS, LabelKind.PROBABILITIES


def random(*shape: int, seed: int = 0, scale: float = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def divergence(teacher: list[float], student: list[float], temperature: float) -> float:
    """KL in plain floats."""

    def shares(logits: list[float]) -> list[float]:
        powers = [math.exp(value / temperature) for value in logits]
        return [power / sum(powers) for power in powers]

    pairs = zip(shares(teacher), shares(student), strict=True)
    return sum(p * math.log(p / q) for p, q in pairs)


@given(st.floats(0.25, 8), st.integers(0, 1000))
def test_it_is_the_mean_divergence_in_nats(temperature: float, seed: int) -> None:
    student, teacher = random(4, 6, seed=seed), random(4, 6, seed=seed + 1)
    each = [
        divergence(t, s, temperature)
        for t, s in zip(teacher.tolist(), student.tolist(), strict=True)
    ]
    loss = soft_label_loss(student, teacher, LOGITS, temperature=temperature)
    assert loss.item() == pytest.approx(sum(each) / 4)


def test_known_values() -> None:
    uniform, certain = torch.zeros(1, 8), torch.tensor([[100.0] + [0.0] * 7])
    assert soft_label_loss(uniform, certain, LOGITS).item() == pytest.approx(math.log(8))
    one_hot = torch.eye(8)[:1]
    assert soft_label_loss(uniform, one_hot, PROBABILITIES).item() == pytest.approx(math.log(8))
    assert soft_label_loss(certain, certain, LOGITS).item() == pytest.approx(0, abs=1e-6)


def test_a_constant_makes_no_difference() -> None:
    student, teacher = random(3, 5), random(3, 5, seed=1)
    loss = soft_label_loss(student, teacher, LOGITS, temperature=2)
    shifted = soft_label_loss(student - 7, teacher + 40, LOGITS, temperature=2)
    assert shifted.item() == pytest.approx(loss.item())


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_probabilities_are_taken_at_their_own_temperature(temperature: float) -> None:
    student, teacher = random(3, 5), random(3, 5, seed=1)
    shares = torch.softmax(teacher / temperature, dim=1)
    assert soft_label_loss(
        student, shares, PROBABILITIES, temperature=temperature
    ).item() == pytest.approx(
        soft_label_loss(student, teacher, LOGITS, temperature=temperature).item()
    )


@pytest.mark.parametrize("kind", LabelKind)
def test_the_gradient_is_that_of_the_formula(kind: LabelKind) -> None:
    student = random(3, 5).requires_grad_()
    teacher = random(3, 5, seed=1)
    shares = torch.softmax(teacher / 2, dim=1)
    labels = teacher if kind is LOGITS else shares
    soft_label_loss(student, labels, kind, temperature=2).backward()
    expected = (torch.softmax(student.detach() / 2, dim=1) - shares) / (3 * 2)
    torch.testing.assert_close(student.grad, expected)


def test_classes_without_probability_give_no_nan() -> None:
    student = torch.zeros(2, 4, requires_grad=True)
    loss = soft_label_loss(student, torch.eye(4)[:2], PROBABILITIES)
    loss.backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_labels_of_any_precision_are_read_in_the_student_s(dtype: torch.dtype) -> None:
    student, teacher = random(3, 5).float(), random(3, 5, seed=1).to(dtype)
    loss = soft_label_loss(student, teacher, LOGITS)
    assert loss.dtype == torch.float32
    expected = soft_label_loss(student.double(), teacher.double(), LOGITS)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def cross_entropy(logits: list[float], label: int, smoothing: float) -> float:
    total = math.log(sum(math.exp(value) for value in logits))
    each = [total - value for value in logits]
    return (1 - smoothing) * each[label] + smoothing * sum(each) / len(each)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_hard_labels_are_weighted_by_area(smoothing: float) -> None:
    student = random(4, 5)
    shown = torch.tensor([[0, 1, 2, 3], [4, 1, 0, 0]])
    area = torch.tensor([0.0, 0.5, 0.25, 1.0], dtype=torch.float64)
    expected = 0.0
    for row, logits in enumerate(student.tolist()):
        own, partner = (cross_entropy(logits, int(shown[of, row]), smoothing) for of in (0, 1))
        expected += ((1 - area[row].item()) * own + area[row].item() * partner) / 4
    loss = mixed_hard_loss(student, shown, area, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", LabelKind)
def test_temperature_squared_is_a_factor_on_request(kind: LabelKind) -> None:
    student, teacher = random(3, 5), random(3, 5, seed=1)
    labels = teacher if kind is LOGITS else torch.softmax(teacher / 4, dim=1)
    plain = soft_label_loss(student, labels, kind, temperature=4)
    scaled = soft_label_loss(
        student, labels, kind, temperature=4, scale_by_temperature_squared=True
    )
    assert scaled.item() == pytest.approx(16 * plain.item())


@given(st.floats(0.25, 8), st.sampled_from(LabelKind), st.integers(0, 1000))
def test_soft_cross_entropy(temperature: float, kind: LabelKind, seed: int) -> None:
    student, teacher = random(4, 6, seed=seed), random(4, 6, seed=seed + 1)
    expected = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        powers = [math.exp(value / temperature) for value in t]
        scaled = [value / temperature for value in s]
        each = [cross_entropy(scaled, label, 0) for label in range(6)]
        expected += sum(p / sum(powers) * e for p, e in zip(powers, each, strict=True)) / 4
    labels = teacher if kind is LOGITS else torch.softmax(teacher / temperature, dim=1)
    loss = soft_cross_entropy(student, labels, kind, temperature=temperature)
    assert loss.item() == pytest.approx(expected)


def test_soft_cross_entropy_pulls_as_the_divergence_does() -> None:
    teacher = random(3, 5, seed=1)
    gradients = []
    for loss in (soft_cross_entropy, soft_label_loss):
        student = random(3, 5).requires_grad_()
        loss(student, teacher, LOGITS, temperature=2).backward()
        gradients.append(student.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("weight", [None, 0.0, 0.025, 1.5])
def test_mse_hard(weight: float | None) -> None:
    student, teacher = random(4, 5), random(4, 5, seed=1)
    hard = torch.tensor([0, 4, 2, 2])
    pairs = zip(student.tolist(), teacher.tolist(), hard.tolist(), strict=True)
    expected = 0.0
    for s, t, label in pairs:
        expected += sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / (4 * 5)
        expected += (0.025 if weight is None else weight) * cross_entropy(s, label, 0) / 4
    if weight is None:
        loss = mse_hard_loss(student, teacher, hard)
    else:
        loss = mse_hard_loss(student, teacher, hard, hard_weight=weight)
    assert loss.item() == pytest.approx(expected)


def test_cosine() -> None:
    student, teacher = random(4, 5), random(4, 5, seed=1)
    expected = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        dot = sum(a * b for a, b in zip(s, t, strict=True))
        expected += (1 - dot / (math.hypot(*s) * math.hypot(*t))) / 4
    assert cosine_loss(student, teacher).item() == pytest.approx(expected)
    assert cosine_loss(student, 7 * student).item() == pytest.approx(0, abs=1e-12)
    assert cosine_loss(student, -student).item() == pytest.approx(2)


@pytest.mark.parametrize("loss", [soft_label_loss, soft_cross_entropy])
def test_probabilities_of_another_temperature_are_refused(loss: Callable[..., Tensor]) -> None:
    student, labels = random(3, 5), torch.softmax(random(3, 5, seed=1), dim=1)
    expected = loss(student, labels, PROBABILITIES, temperature=4)
    same = loss(student, labels, PROBABILITIES, temperature=4, label_temperature=4.0)
    assert same.item() == expected.item()
    with pytest.raises(ContractMismatchError, match="at temperature 1, the student's is 4") as bad:
        loss(student, labels, PROBABILITIES, temperature=4, label_temperature=1)
    assert bad.value.facts == {"field": "temperature", "expected": "4", "actual": "1"}
    logits = loss(student, labels, LOGITS, temperature=4, label_temperature=1)
    assert logits.item() == loss(student, labels, LOGITS, temperature=4).item()


def test_losses_by_name() -> None:
    student, teacher, hard = random(3, 5), random(3, 5, seed=1), torch.tensor([1, 0, 4])
    expected = {
        "kl": soft_label_loss(student, teacher, LOGITS, temperature=3),
        "kl-t2": 9 * soft_label_loss(student, teacher, LOGITS, temperature=3),
        "soft-cross-entropy": soft_cross_entropy(student, teacher, LOGITS, temperature=3),
        "mse-hard": mse_hard_loss(student, teacher, hard, hard_weight=0.5),
        "cosine": cosine_loss(student, teacher),
    }
    assert list(expected) == list(Loss)
    for name, value in expected.items():
        loss = distillation_loss(
            Loss(name),
            student,
            teacher,
            LOGITS,
            temperature=3,
            hard_labels=hard,
            hard_weight=0.5,
        )
        assert loss.item() == pytest.approx(value.item()), name


@pytest.mark.parametrize("loss", [Loss.KL, Loss.KL_T2, Loss.SOFT_CE])
def test_probabilities_by_name(loss: Loss) -> None:
    student, labels = random(3, 5), torch.softmax(random(3, 5, seed=1) / 2, dim=1)
    by_name = partial(distillation_loss, loss, student, labels, PROBABILITIES, temperature=2)
    logits = distillation_loss(loss, student, random(3, 5, seed=1), LOGITS, temperature=2)
    assert by_name(label_temperature=2).item() == pytest.approx(logits.item())
    with pytest.raises(InvalidRequestError, match="probabilities need label_temperature"):
        by_name()
    with pytest.raises(ContractMismatchError, match="at temperature 20"):
        by_name(label_temperature=20)


@pytest.mark.parametrize("loss", [Loss.MSE_HARD, Loss.COSINE])
def test_losses_on_logits_refuse_probabilities(loss: Loss) -> None:
    student, labels = random(3, 5), torch.full((3, 5), 0.2)
    hard = torch.tensor([1, 0, 4])
    with pytest.raises(ContractMismatchError, match="labels are probabilities") as caught:
        distillation_loss(loss, student, labels, PROBABILITIES, temperature=1, hard_labels=hard)
    assert caught.value.facts["field"] == "label_kind"


def test_mse_hard_needs_hard_labels() -> None:
    student = random(3, 5)
    with pytest.raises(InvalidRequestError, match="the loss mse-hard needs hard_labels"):
        distillation_loss(Loss.MSE_HARD, student, student, LOGITS, temperature=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("scale", [0.0, 1.0, 300.0])
@pytest.mark.parametrize("loss", Loss)
def test_gradients_are_finite(loss: Loss, scale: float, dtype: torch.dtype) -> None:
    student = random(4, 50, scale=scale).float().requires_grad_()
    teacher = random(4, 50, seed=1, scale=scale).to(dtype)
    hard = torch.tensor([0, 1, 2, 3])
    value = distillation_loss(loss, student, teacher, LOGITS, temperature=20, hard_labels=hard)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_words_mean_what_the_enumerations_mean() -> None:
    logits, labels, hard = random(4, 5), random(4, 5, seed=1), torch.tensor([0, 1, 2, 3])
    for loss in Loss:
        told: dict[str, Any] = {"temperature": 2.0, "hard_labels": hard}
        by_word = distillation_loss(Loss(str(loss)), logits, labels, LabelKind.LOGITS, **told)
        text: Any = str(loss)
        kind: Any = "logits"
        assert torch.equal(distillation_loss(text, logits, labels, kind, **told), by_word)
    shares: Any = labels.softmax(dim=1)
    word: Any = "probabilities"
    expected = soft_label_loss(logits, shares, LabelKind.PROBABILITIES)
    assert torch.equal(soft_label_loss(logits, shares, word), expected)


@pytest.mark.parametrize("word", ["nonsense", None, 3])
def test_words_that_nobody_knows_are_refused(word: Any) -> None:
    logits, labels = random(4, 5), random(4, 5, seed=1)
    with pytest.raises(InvalidRequestError, match="loss is one of kl, kl-t2"):
        distillation_loss(word, logits, labels, LabelKind.LOGITS, temperature=1.0)
    for loss in (soft_label_loss, soft_cross_entropy):
        with pytest.raises(InvalidRequestError, match="label_kind is one of logits, prob"):
            loss(logits, labels, word)
    for other in (cosine_loss, partial(mse_hard_loss, hard_labels=torch.zeros(4).long())):
        with pytest.raises(InvalidRequestError, match="label_kind is one of"):
            other(logits, labels, label_kind=word)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_temperatures_that_are_none_are_refused(temperature: float) -> None:
    logits, labels = random(4, 5), random(4, 5, seed=1)
    for loss in (soft_label_loss, soft_cross_entropy):
        with pytest.raises(InvalidRequestError, match="must be a number above 0"):
            loss(logits, labels, LabelKind.LOGITS, temperature=temperature)


def test_one_label_is_not_taken_for_a_whole_batch() -> None:
    logits, one, hard = random(4, 5), random(1, 5), torch.zeros(4).long()
    calls: list[Callable[[], Tensor]] = [
        lambda: soft_label_loss(logits, one, LabelKind.LOGITS),
        lambda: soft_cross_entropy(logits, one, LabelKind.LOGITS),
        lambda: cosine_loss(logits, one),
        lambda: mse_hard_loss(logits, one, hard),
    ]
    for call in calls:
        with pytest.raises(InvalidRequestError, match="give a row of labels for each row"):
            call()
