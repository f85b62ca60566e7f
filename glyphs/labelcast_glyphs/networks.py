"""The convolutional networks of teacher and student.

Built for CPUs: three of four convolutions run at 16×16 or below. GroupNorm instead of BatchNorm,
because training sees only cropped and mixed views while evaluation sees whole pictures, and
running statistics of the first are wrong for the second.
"""

from __future__ import annotations

import torch
from torch import nn

from labelcast_glyphs.drawing.rendering import IMAGE_SIZE

TEACHER_WIDTH = 32
STUDENT_WIDTH = 16

_CHANNELS_PER_GROUP = 8
_REDUCTION = 8


class GlyphNet(nn.Module):
    """Four convolutions and a linear classifier over 32×32 grey pictures.

    `torch.manual_seed` beforehand makes the initial weights reproducible.

    Args:
        num_classes: classes, at least 1.
        width: channels of the first convolution, a positive multiple of 8.

    Raises:
        ValueError: either is out of range.
    """

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, not {num_classes}")
        if width < 1 or width % _CHANNELS_PER_GROUP:
            raise ValueError(f"width must be a positive multiple of 8, not {width}")
        self.num_classes = num_classes
        self.width = width
        self.features = nn.Sequential(
            *_convolution(1, width, kernel=4, stride=2),
            *_convolution(width, 2 * width, kernel=3, stride=2),
            *_convolution(2 * width, 4 * width, kernel=3, stride=1),
            *_convolution(4 * width, 4 * width, kernel=3, stride=2),
        )
        side = IMAGE_SIZE // _REDUCTION
        self.classifier = nn.Linear(4 * width * side * side, num_classes)
        # Twice as fast as the default layout in the convolutions of oneDNN.
        self.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Score pictures.

        Args:
            images: float32, shape (N, 1, 32, 32), in [0, 1].

        Returns:
            float32 logits, shape (N, num_classes).
        """
        features = self.features(images.contiguous(memory_format=torch.channels_last))
        logits: torch.Tensor = self.classifier(features.flatten(1))
        return logits


def teacher_network(num_classes: int = 1000) -> GlyphNet:
    """Build an untrained network of the teacher's shape."""
    return GlyphNet(num_classes, TEACHER_WIDTH)


def student_network(num_classes: int = 1000) -> GlyphNet:
    """Build an untrained network of half the teacher's width."""
    return GlyphNet(num_classes, STUDENT_WIDTH)


def _convolution(inputs: int, outputs: int, *, kernel: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=1, bias=False),
        nn.GroupNorm(outputs // _CHANNELS_PER_GROUP, outputs),
        nn.ReLU(inplace=True),
    ]
