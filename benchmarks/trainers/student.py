"""The student that every loop trains, and its images."""

import torch
from torch import Tensor, nn

SIDE = 32
WIDTH = 48
DESCRIPTION = f"four convolutions of {WIDTH} to {4 * WIDTH} channels on images of {SIDE} × {SIDE}"


def student(num_classes: int) -> nn.Module:
    """A small network without dropout, so that every run does the same work."""
    layers: list[nn.Module] = []
    into = 3
    for out in (WIDTH, WIDTH, 2 * WIDTH, 4 * WIDTH):
        layers += [
            nn.Conv2d(into, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.AvgPool2d(2),
        ]
        into = out
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(into, num_classes)
    )


def images(count: int) -> Tensor:
    """Images of noise: float32, shape (count, 3, SIDE, SIDE), the same in every process."""
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
