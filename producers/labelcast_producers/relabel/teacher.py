"""The network that labels."""

import hashlib

import torch
from torch import nn

from labelcast.identifiers import Digest, digest_from_hash


def module_digest(module: nn.Module) -> Digest:
    """Identify a network: sha256 over the names, types, shapes and bytes of its state."""
    hasher = hashlib.sha256(b"labelcast teacher\0")
    for name, tensor in sorted(module.state_dict().items()):
        hasher.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        hasher.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest_from_hash(hasher.digest())
