"""Context rows on any torch device; must equal `labelcast.context.rows`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from labelcast.context.rows import LARGEST_GEOMETRY
from labelcast.errors import CodecFormatError, CodeRangeError

_CLASS_BYTES = 2 * 4


def unpack_context(rows: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Unpack context rows on their device.

    Args:
        rows: uint8, shape (N, CONTEXT_STRIDE).
        num_classes: number of classes, C.

    Returns:
        Classes, int64 (N, 2), and geometry, float32 (N, GEOMETRY_WIDTH).

    Raises:
        CodeRangeError: a class out of range.
        CodecFormatError: geometry that no policy draws.
    """
    # clone: a slice's bytes may start anywhere, and a view in a wider type must be aligned.
    classes = rows[:, :_CLASS_BYTES].clone(memory_format=torch.contiguous_format).view(torch.int32)
    geometry = rows[:, _CLASS_BYTES:].clone(memory_format=torch.contiguous_format)
    geometry = geometry.view(torch.float32)
    outside = ((classes < 0) | (classes >= num_classes)).any()
    # Written so that NaN fails; one transfer for both findings.
    known = (geometry.abs() <= LARGEST_GEOMETRY).all()
    out_of_range, is_known = torch.stack([outside, known]).tolist()
    if out_of_range:
        raise CodeRangeError(f"a class of a context is outside the {num_classes} classes")
    if not is_known:
        raise CodecFormatError("a context row holds geometry that no policy draws")
    return classes.long(), geometry


def context_values(classes: Tensor, geometry: Tensor, embeddings: Tensor) -> Tensor:
    """What the decoder's first layer gets besides the codewords.

    Args:
        classes: int64, shape (N, 2).
        geometry: float32, shape (N, GEOMETRY_WIDTH).
        embeddings: embeddings of the classes, float32, shape (C, E).

    Returns:
        float32, shape (N, 3 * E + GEOMETRY_WIDTH).
    """
    own, partner = F.embedding(classes, embeddings).unbind(dim=1)
    share = geometry[:, -1:]
    return torch.cat([own, partner, (1 - share) * own + share * partner, geometry], dim=1)
