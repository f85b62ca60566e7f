"""Top-1 accuracy of a network on a data set."""

from __future__ import annotations

import torch
from torch import nn

from labelcast_glyphs.dataset import LabelledImages


@torch.inference_mode()
def top1_accuracy(network: nn.Module, dataset: LabelledImages, *, batch_size: int = 500) -> float:
    """Measure how often the highest logit is the hard label.

    The network is evaluated in eval mode and left in the mode it came in.

    Args:
        network: maps float32 (N, 1, 32, 32) to logits (N, num_classes).
        dataset: usually `GlyphDataset("held_out")`.
        batch_size: pictures per forward pass, at least 1.

    Returns:
        Share in [0, 1].

    Raises:
        ValueError: batch_size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    was_training = network.training
    network.eval()
    correct = 0
    batches = zip(
        dataset.image_tensor().split(batch_size),
        dataset.label_tensor().split(batch_size),
        strict=True,
    )
    for images, labels in batches:
        correct += int((network(images).argmax(dim=1) == labels).sum())
    network.train(was_training)
    return correct / len(dataset)
