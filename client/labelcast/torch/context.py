"""Context rows on any torch device; see `labelcast.codec.context`, which this must equal."""

import torch
import torch.nn.functional as F
from torch import Tensor

from labelcast.codec import ContextShape
from labelcast.codec.context import GEOMETRY_WIDTH, LARGEST_GEOMETRY, SAMPLE_CODE_UNIT
from labelcast.errors import CodecFormatError, CodeRangeError

_CLASS_BYTES = 2 * 4


def unpack_context(
    rows: Tensor, shape: ContextShape, num_classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Read context rows on their device.

    Args:
        rows: uint8, shape (N, shape.row_stride).
        shape: of the codec.
        num_classes: C.

    Returns:
        Classes, int64 (N, 2); geometry, float32 (N, GEOMETRY_WIDTH); and sample codes in the units
        of the decoder, float32 (N, 2, S).

    Raises:
        CodeRangeError: a class out of range.
        CodecFormatError: geometry that no policy draws.
    """
    ends = _CLASS_BYTES, _CLASS_BYTES + 4 * GEOMETRY_WIDTH
    # clone: a slice's bytes may start anywhere, and a view in a wider type must be aligned.
    classes = rows[:, : ends[0]].clone(memory_format=torch.contiguous_format).view(torch.int32)
    geometry = rows[:, ends[0] : ends[1]].clone(memory_format=torch.contiguous_format)
    geometry = geometry.view(torch.float32)
    codes = rows[:, ends[1] :].contiguous().view(torch.int8).float() * SAMPLE_CODE_UNIT
    outside = ((classes < 0) | (classes >= num_classes)).any()
    # Written so that NaN fails; one transfer for both findings.
    known = (geometry.abs() <= LARGEST_GEOMETRY).all()
    out_of_range, is_known = torch.stack([outside, known]).tolist()
    if out_of_range:
        raise CodeRangeError(f"a class of a context is outside the {num_classes} classes")
    if not is_known:
        raise CodecFormatError("a context row holds geometry that no policy draws")
    return classes.long(), geometry, codes.reshape(len(rows), 2, shape.sample_bytes)


def context_values(
    classes: Tensor, geometry: Tensor, sample_codes: Tensor, embeddings: Tensor
) -> Tensor:
    """What the decoder's first layer gets beside the codewords.

    Args:
        classes: int64, shape (N, 2).
        geometry: float32, shape (N, GEOMETRY_WIDTH).
        sample_codes: float32, shape (N, 2, S).
        embeddings: of the classes, float32, shape (C, E).

    Returns:
        float32, shape (N, 3 * (E + S) + GEOMETRY_WIDTH).
    """
    sides = torch.cat([F.embedding(classes, embeddings), sample_codes], dim=2)
    own, partner = sides.unbind(dim=1)
    share = geometry[:, -1:]
    return torch.cat([own, partner, (1 - share) * own + share * partner, geometry], dim=1)
