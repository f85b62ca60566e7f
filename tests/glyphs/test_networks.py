"""Networks and evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labelcast_glyphs import (
    GlyphDataset,
    GlyphNet,
    student_network,
    teacher_network,
    top1_accuracy,
)


class Oracle(nn.Module):
    """Answers from a list instead of looking, wrongly for the first `wrong` pictures."""

    def __init__(self, dataset: GlyphDataset, wrong: int) -> None:
        super().__init__()
        self.answers = dataset.label_tensor()
        self.answers[:wrong] = (self.answers[:wrong] + 1) % dataset.num_classes
        self.num_classes = dataset.num_classes
        self.seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        rows = slice(self.seen, self.seen + len(images))
        self.seen += len(images)
        return nn.functional.one_hot(self.answers[rows], self.num_classes).float()


def test_logits_have_one_column_per_class() -> None:
    assert GlyphNet(20, 8)(torch.zeros(3, 1, 32, 32)).shape == (3, 20)


def test_the_student_has_half_the_width() -> None:
    assert teacher_network(10).width == 2 * student_network(10).width


def test_the_seed_decides_the_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(student_network(10).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(("num_classes", "width"), [(0, 8), (10, 0), (10, 12)])
def test_impossible_sizes_are_refused(num_classes: int, width: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        GlyphNet(num_classes, width)


@pytest.mark.parametrize("batch_size", [1, 7, 60, 500])
def test_accuracy_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    held_out = GlyphDataset("held_out", 20)
    oracle = Oracle(held_out, wrong=6)
    assert top1_accuracy(oracle, held_out, batch_size=batch_size) == pytest.approx(0.9)
    assert oracle.training


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        top1_accuracy(GlyphNet(20, 8), GlyphDataset("held_out", 20), batch_size=0)
