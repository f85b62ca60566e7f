"""Losses against closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from labelcast.codec import LabelKind
from labelcast.torch import mixed_hard_loss, soft_label_loss

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
