"""Two small students of views of 64 pixels: one residual, one of separable convolutions.

GroupNorm, because they are trained on mixed views and tested on others.
"""

from enum import StrEnum
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.imagenet.settings import CLASSES, FIRST_STUDENT, SECOND_STUDENT, StudentSettings

_CHANNELS_PER_GROUP = 8


class Architecture(StrEnum):
    """What a student is.

    RESNET: residual blocks of two 3×3 convolutions (He et al., arXiv 1512.03385).
    MOBILENET: inverted bottlenecks with depthwise convolutions (Sandler et al., arXiv 1801.04381).
    """

    RESNET = FIRST_STUDENT
    MOBILENET = SECOND_STUDENT


def student_network(architecture: Architecture, settings: StudentSettings) -> nn.Module:
    """A student: views (N, 3, 64, 64), channels last in memory, to logits (N, 1000).

    Args:
        architecture: which.
        settings: its width.
    """
    if architecture is Architecture.RESNET:
        network = _residual(settings.resnet_width)
    else:
        network = _separable(settings.mobilenet_width)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _residual(width: int) -> nn.Module:
    stages = [width, 2 * width, 4 * width, 8 * width]
    blocks = [_ResidualBlock(width, width, stride=1)]
    for before, after in pairwise(stages):
        blocks.append(_ResidualBlock(before, after, stride=2))
    return nn.Sequential(_stem(width), *blocks, _classifier(stages[-1]))


def _separable(width: int) -> nn.Module:
    stages = [width, 2 * width, 4 * width, 8 * width]
    blocks = [_InvertedBlock(width, width, stride=1)]
    for before, after in pairwise(stages):
        blocks += [
            _InvertedBlock(before, after, stride=2),
            _InvertedBlock(after, after, stride=1),
        ]
    return nn.Sequential(_stem(width), *blocks, _classifier(stages[-1]))


def _stem(width: int) -> nn.Module:
    """64 × 64 pixels to 16 × 16 places: what comes after costs a sixteenth."""
    return nn.Sequential(*_convolution(3, width, kernel=7, stride=4), nn.ReLU(inplace=True))


def _classifier(width: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


def _convolution(
    inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    padding = kernel // 2
    convolution = nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=False
    )
    return [convolution, nn.GroupNorm(outputs // _CHANNELS_PER_GROUP, outputs)]


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inputs, outputs, kernel=3, stride=stride),
            nn.ReLU(inplace=True),
            *_convolution(outputs, outputs, kernel=3),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(*_convolution(inputs, outputs, kernel=1, stride=stride))
        )

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.body(images) + self.shortcut(images))


class _InvertedBlock(nn.Module):
    EXPANSION = 4

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        wide = self.EXPANSION * inputs
        self.body = nn.Sequential(
            *_convolution(inputs, wide, kernel=1),
            nn.ReLU6(inplace=True),
            *_convolution(wide, wide, kernel=3, stride=stride, groups=wide),
            nn.ReLU6(inplace=True),
            *_convolution(wide, outputs, kernel=1),
        )
        self.same = inputs == outputs and stride == 1

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.body(images)
        return images + found if self.same else found
